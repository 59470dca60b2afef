//! Prefill and decoding with a KV cache, without one, with a sliding window, and with quantized
//! weights, in tokens/s; the time of a pass over several tokens, as prompt lookup takes it.
//!
//!     cargo bench -p benches --bench kv_cache

use std::time::Duration;

use benches::generation::time_generation;
use candle_core::{DType, Device, Tensor};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use model_io::{ModelConfig, SlidingWindow};
use modern::generation::generate_uncached;
use modern::sampler::{Sampler, SamplingStrategy};
use modern::{Cache, CacheKind, GptModern};
use tensor_core::quantized::{Quantization, QuantizedMatrix};
use tensor_core::{Parameters, Rng};

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

const WINDOW: CacheKind = CacheKind::SlidingWindow(SlidingWindow { size: 64, sinks: 4 });

/// Part 3's demo model with a context length of 2,048.
fn demo_model() -> (GptModern, Parameters) {
    let mut config = ModelConfig::byte_level(2048, 2, 4, 128);
    config.attention.n_kv_head = 2;
    with_random_weights(config)
}

/// A model with the sizes of SmolLM2-135M.
fn small_model() -> (GptModern, Parameters) {
    let mut config = ModelConfig::byte_level(2048, 30, 9, 576);
    (config.vocab_size, config.attention.n_kv_head) = (49_152, 3);
    with_random_weights(config)
}

fn with_random_weights(config: ModelConfig) -> (GptModern, Parameters) {
    let mut parameters = Parameters::seeded(1, DType::F32, &Device::Cpu);
    GptModern::new(&config, parameters.root()).expect("valid sizes");
    let model = GptModern::new(&config, parameters.for_inference().root()).expect("the same sizes");
    (model, parameters)
}

/// Copy of the model with quantized matrices.
fn quantize_model(format: Quantization, model: &GptModern, parameters: &Parameters) -> GptModern {
    let (mut matrices, mut others) = (Vec::new(), Vec::new());
    for parameter in parameters.iter() {
        let (name, x) = (parameter.name.clone(), parameter.var.as_detached_tensor());
        match x.rank() {
            2 => {
                matrices.push((name, QuantizedMatrix::quantize(format, &x).expect("whole blocks")))
            }
            _ => others.push((name, x)),
        }
    }
    let others = others.into_iter().collect();
    let parameters = Parameters::from_tensors(others, "memory", 0, DType::F32, &Device::Cpu);
    let mut parameters = parameters.with_quantized(matrices.into_iter().collect());
    GptModern::new(model.config(), parameters.root()).expect("the same sizes");
    GptModern::new(model.config(), parameters.for_inference().root()).expect("the same sizes")
}

/// Times the decoding of `new` tokens after `prompt` tokens.
fn decode(
    group: &mut Group<'_>,
    name: &str,
    model: &GptModern,
    cache_kind: CacheKind,
    [prompt, new]: [usize; 2],
) {
    group.throughput(Throughput::Elements(new as u64 - 1));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|n| {
            let runs = (0..n).map(|_| time_generation(model, cache_kind, prompt, new));
            runs.flat_map(|times| times.expect("generation works").decode).sum::<Duration>()
        });
    });
}

/// Times the prefill: `prompt` tokens, up to the first new one.
fn prefill(
    group: &mut Group<'_>,
    name: &str,
    model: &GptModern,
    cache_kind: CacheKind,
    prompt: usize,
) {
    group.throughput(Throughput::Elements(prompt as u64));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|n| {
            let runs = (0..n).map(|_| time_generation(model, cache_kind, prompt, 1));
            runs.map(|times| times.expect("generation works").prefill).sum::<Duration>()
        });
    });
}

/// Whole generations with a full cache, with a sliding window and without a cache.
fn bench_cache(criterion: &mut Criterion) {
    let (model, _) = demo_model();
    for len in [200, 1024] {
        let mut group = criterion.benchmark_group(format!("demo model, {len} tokens"));
        group.sample_size(10);
        decode(&mut group, "cache", &model, CacheKind::Full, [1, len]);
        decode(&mut group, "window", &model, WINDOW, [1, len]);
        group.throughput(Throughput::Elements(len as u64));
        group.bench_function("no cache", |bencher| {
            let (greedy, mut rng) = (Sampler::new(SamplingStrategy::Greedy), Rng::new(1));
            bencher.iter(|| {
                generate_uncached(&model, &[0], len, &greedy, &mut rng).expect("generation works")
            });
        });
        group.finish();
    }
}

/// Cost of one token after 500 and after 10,000 tokens with a sliding window; both are the same.
fn bench_long_generation(criterion: &mut Criterion) {
    let (model, _) = demo_model();
    let mut group = criterion.benchmark_group("demo model, window of 64 and 4 sinks");
    for position in [500, 10_000] {
        let mut cache = WINDOW.new_cache(&model);
        let ids = |n: usize| Tensor::zeros((1, n), DType::U32, &Device::Cpu).expect("ids");
        model.hidden_states_cached(&ids(position), &mut cache).expect("prefill works");
        let ids = ids(1);
        let next_logits = |cache: &mut Cache| {
            let hidden = model.hidden_states_cached(&ids, cache).expect("decoding works");
            model.logits(&hidden).expect("decoding works")
        };
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("token {position}"), |bencher| {
            bencher.iter(|| next_logits(&mut cache));
        });
    }
    group.finish();
}

/// A forward pass over several tokens after 64, with the logits of each: with prompt lookup, the
/// time of a pass grows with its proposed tokens, and the number of passes falls.
fn bench_pass(criterion: &mut Criterion, models: &[(&str, GptModern)]) {
    let mut group = criterion.benchmark_group("135M parameters, a pass after 64 tokens");
    group.sample_size(10);
    let ids = |n: usize| Tensor::zeros((1, n), DType::U32, &Device::Cpu).expect("ids");
    for (name, model) in models {
        let mut cache = CacheKind::Full.new_cache(model);
        model.hidden_states_cached(&ids(64), &mut cache).expect("prefill works");
        for n in [1, 4, 8, 16, 32] {
            let ids = ids(n);
            group.throughput(Throughput::Elements(n as u64));
            group.bench_function(format!("{name}, {n} tokens"), |bencher| {
                bencher.iter(|| {
                    cache.truncate(64);
                    let hidden =
                        model.hidden_states_cached(&ids, &mut cache).expect("decoding works");
                    model.logits(&hidden).expect("decoding works")
                });
            });
        }
    }
    group.finish();
}

/// Decoding and prefill of a model of 135M parameters in f32, Q8_0 and Q4_1.
fn bench_135m(criterion: &mut Criterion) {
    let (model, parameters) = small_model();
    let mut models = vec![("f32", model)];
    for (name, format) in [("Q8_0", Quantization::Q8_0), ("Q4_1", Quantization::Q4_1)] {
        models.push((name, quantize_model(format, &models[0].1, &parameters)));
    }
    let mut group = criterion.benchmark_group("135M parameters, decode 64 after 64");
    group.sample_size(10);
    for (name, model) in &models {
        decode(&mut group, name, model, CacheKind::Full, [64, 64]);
    }
    group.finish();
    bench_pass(criterion, &models);
    let mut group = criterion.benchmark_group("135M parameters, prefill 512");
    group.sample_size(10);
    for (name, model) in &models {
        prefill(&mut group, name, model, CacheKind::Full, 512);
        prefill(&mut group, &format!("{name}, window"), model, WINDOW, 512);
    }
    group.finish();
}

fn main() {
    tensor_core::allocator::keep_freed_memory();
    let mut criterion = Criterion::default().configure_from_args();
    bench_cache(&mut criterion);
    bench_long_generation(&mut criterion);
    bench_135m(&mut criterion);
    criterion.final_summary();
}
