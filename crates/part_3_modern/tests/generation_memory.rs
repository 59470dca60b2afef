//! Memory use of generating 2,000 tokens: it equals that of the KV cache, because no autograd graph
//! is built and nothing but the token is stored per token. The allocator of this test process
//! counts the bytes, so the process contains this test only.

use anyhow::Result;
use candle_core::{DType, Device};
use model_io::{ModelConfig, SlidingWindow};
use modern::sampler::{Sampler, SamplingStrategy};
use modern::{CacheKind, GenerateConfig, GenerationState, GptModern};
use tensor_core::testing::CountingAllocator;
use tensor_core::{Parameters, Rng};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// Allowance in bytes for the lists of 2,000 tokens and log-probabilities, which double when full,
/// and 16 KiB for threads that start late. (An autograd graph of this model would hold 20 KB per
/// token, 30 MB in total.)
const TOKENS: usize = 2 * (4 + 4) * 2000 + 16 * 1024;

/// Memory in bytes: in use after generation, of the cache, and temporarily needed during
/// generation.
#[derive(Debug)]
struct MemoryUse {
    in_use: usize,
    cache: usize,
    temporary: usize,
}

/// Generates `n` more tokens.
fn generate(
    model: &GptModern,
    cache_kind: CacheKind,
    state: &mut GenerationState,
    n: usize,
) -> Result<MemoryUse> {
    let strategy = SamplingStrategy::Random {
        temperature: 1.,
        top_k: Some(20),
        top_p: Some(0.9),
        min_p: None,
    };
    let config = GenerateConfig {
        cache_kind,
        ..GenerateConfig::new(model, Sampler::new(strategy), n, Vec::new())
    };
    ALLOCATOR.reset_peak();
    let completions = state.generate(model, &config, &mut [Rng::new(1)], |_, _| Ok(()))?;
    assert_eq!(completions[0].tokens.len(), n);
    drop(completions);
    let in_use = ALLOCATOR.bytes_in_use();
    let temporary = ALLOCATOR.peak() - in_use;
    Ok(MemoryUse { in_use, cache: state.cache.size_in_bytes(), temporary })
}

/// Memory use after 500 and after 2,000 tokens.
fn early_and_late(model: &GptModern, cache_kind: CacheKind) -> Result<[MemoryUse; 2]> {
    let mut state = GenerationState::new(cache_kind.new_cache(model), vec![1, 2, 3]);
    let early = generate(model, cache_kind, &mut state, 500)?;
    let late = generate(model, cache_kind, &mut state, 1500)?;
    println!("{cache_kind:?}: {early:?}, {late:?}");
    Ok([early, late])
}

#[test]
fn generation_needs_no_memory_beyond_its_cache() -> Result<()> {
    let mut config = ModelConfig::byte_level(2100, 2, 4, 16);
    config.attention.n_kv_head = 2;
    let mut parameters = Parameters::seeded(1, DType::F32, &Device::Cpu);
    GptModern::new(&config, parameters.root())?;
    let model = GptModern::new(&config, parameters.for_inference().root())?;
    let cache_kinds =
        [CacheKind::SlidingWindow(SlidingWindow { size: 64, sinks: 4 }), CacheKind::Full];
    early_and_late(&model, cache_kinds[1])?; // warm-up: allocates threads and their buffers
    for cache_kind in cache_kinds {
        let [early, late] = early_and_late(&model, cache_kind)?;
        let cache = late.cache - early.cache;
        let expected = match cache_kind {
            CacheKind::SlidingWindow(_) => 0,
            // Capacity of 2,048 tokens instead of 512: keys and values, 2 layers, 2 heads of 4 f32.
            _ => 2 * 2 * (2048 - 512) * 2 * 4 * 4,
        };
        assert_eq!(cache, expected);
        let growth = late.in_use - early.in_use;
        assert!(
            growth < cache + TOKENS,
            "{cache_kind:?}: memory grew by {growth} bytes, the cache by {cache}"
        );
        // Temporary memory: activations of a token, the copy of a growing cache layer, and the
        // tokens.
        let (temporary, copied) = (late.temporary, late.cache / 2);
        let limit = early.temporary + copied + TOKENS;
        assert!(
            temporary < limit,
            "{cache_kind:?}: {temporary} bytes of temporary memory, the limit is {limit}"
        );
    }
    Ok(())
}
