//! Memory of attention with capped logits to a cache, measured by the allocator of this test's own
//! process.

use candle_core::{DType, Device, Result};
use tensor_core::Rng;
use tensor_core::ops::{AttentionMask, softcap_attention};
use tensor_core::testing::CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// Cached tokens.
const S: usize = 4096;
/// Tokens that the cache has room for.
const CAPACITY: usize = S + 1000;
const KV: usize = 4;
const H: usize = 8;
const D: usize = 128;

/// Peak of the bytes that the next token of each of `b` texts allocates on this thread.
fn peak(b: usize) -> Result<usize> {
    let normal = |shape: (usize, usize, usize, usize)| {
        Rng::new(0).normal_tensor(shape, 1., DType::F32, &Device::Cpu)
    };
    let [keys, values] = [normal((b, CAPACITY, KV, D))?, normal((b, CAPACITY, KV, D))?];
    let [keys, values] = [keys.narrow(1, 0, S)?, values.narrow(1, 0, S)?];
    let q = normal((b, 1, H, D))?;
    let mask = AttentionMask::causal().with_offset(S - 1);
    let attend = || softcap_attention(&q, &keys, &values, &mask, 5.);
    attend()?; // allocates the threads and their buffers for products once
    let (output, peak) = ALLOCATOR.thread_peak_during(attend);
    output?;
    Ok(peak)
}

/// candle copies the keys of at most one head, in blocks, while it multiplies them.
#[test]
fn keys_and_values_in_a_cache_are_neither_copied_nor_repeated() -> Result<()> {
    let keys = S * KV * D * size_of::<f32>(); // of one text
    for b in [1, 3] {
        let peak = peak(b)?;
        assert!(peak < keys / 2, "{b} texts took {peak} bytes, the keys of one have {keys}");
    }
    Ok(())
}
