//! Writing 2,000 tokens holds no more memory than its cache says: no graph is built, and nothing is kept per token but
//! the token. Bytes are counted by the allocator of this test's own process, which holds one test alone.

use anyhow::Result;
use candle_core::{DType, Device};
use modern::sampler::{Sampler, SamplingStrategy};
use modern::{CacheKind, GenerateConfig, GenerationState, GptModern, ModelConfig, SlidingWindow};
use tensor_core::testing::CountingAllocator;
use tensor_core::{Parameters, Rng};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// The lists of tokens and probabilities of 2,000 tokens, which double when they are full, and 16 KiB for threads that
/// come late. (A graph of this model holds 20 KB of each token: 30 MB.)
const TOKENS: usize = 2 * (4 + 4) * 2000 + 16 * 1024;

/// What is held after writing, and what was needed for a while on the way.
#[derive(Debug)]
struct Held {
    bytes: usize,
    cache: usize,
    passing: usize,
}

/// Writes `n` tokens more.
fn write(
    model: &GptModern,
    memory: CacheKind,
    text: &mut GenerationState,
    n: usize,
) -> Result<Held> {
    let choice = SamplingStrategy::Random {
        temperature: 1.,
        top_k: Some(20),
        top_p: Some(0.9),
        min_p: None,
    };
    let config = GenerateConfig {
        cache_kind: memory,
        ..GenerateConfig::new(model, Sampler::new(choice), n, Vec::new())
    };
    ALLOCATOR.reset_peak();
    let written = text.generate(model, &config, &mut [Rng::new(1)], |_, _| Ok(()))?;
    assert_eq!(written[0].tokens.len(), n);
    drop(written);
    let bytes = ALLOCATOR.bytes_in_use();
    let passing = ALLOCATOR.peak() - bytes;
    Ok(Held { bytes, cache: text.cache.size_in_bytes(), passing })
}

/// What is held after 500 tokens and after 2,000.
fn early_and_late(model: &GptModern, memory: CacheKind) -> Result<[Held; 2]> {
    let mut text = GenerationState::new(memory.new_cache(model), vec![1, 2, 3]);
    let held = [write(model, memory, &mut text, 500)?, write(model, memory, &mut text, 1500)?];
    println!("{memory:?}: {held:?}");
    Ok(held)
}

#[test]
fn memory_stays_flat_while_writing() -> Result<()> {
    let mut config = ModelConfig::byte_level(2100, 2, 4, 16);
    config.attention.n_kv_head = 2;
    let mut parameters = Parameters::seeded(1, DType::F32, &Device::Cpu);
    GptModern::new(&config, parameters.root())?;
    let model = GptModern::new(&config, parameters.for_inference().root())?;
    let memories =
        [CacheKind::SlidingWindow(SlidingWindow { size: 64, sinks: 4 }), CacheKind::Full];
    early_and_late(&model, memories[1])?; // the threads and their room for a row of weights come once
    for memory in memories {
        let [early, late] = early_and_late(&model, memory)?;
        let cache = late.cache - early.cache;
        let expected = match memory {
            CacheKind::SlidingWindow(_) => 0,
            // Room for 2,048 tokens in place of 512: keys and values of 2 heads of 4 f32 in 2 layers.
            CacheKind::Full => 2 * 2 * (2048 - 512) * 2 * 4 * 4,
        };
        assert_eq!(cache, expected);
        let more = late.bytes - early.bytes;
        assert!(
            more < cache + TOKENS,
            "{memory:?}: {more} bytes more, {cache} of them the cache's"
        );
        // What comes and goes: a token's activations, a cache's layer that moves, and what was written.
        let (passing, moved) = (late.passing, late.cache / 2);
        let room = early.passing + moved + TOKENS;
        assert!(passing < room, "{memory:?}: {passing} bytes on the way, {room} are enough");
    }
    Ok(())
}
