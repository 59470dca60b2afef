//! Memory of attention, measured by the allocator of this test's own process.

use candle_core::{DType, Device, Result, Var};
use tensor_core::ops::{AttentionMask, attention};
use tensor_core::testing::CountingAllocator;
use tensor_core::{Rng, backward};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// Peak of the bytes that attention over `t` tokens allocates, forward and backward.
fn peak(t: usize) -> Result<usize> {
    let x = Rng::new(0).normal_tensor((1, t, 2, 16), 1., DType::F32, &Device::Cpu)?;
    let x = Var::from_tensor(&x)?;
    let before = ALLOCATOR.reset_peak();
    backward(&attention(&x, &x, &x, &AttentionMask::causal())?)?;
    Ok(ALLOCATOR.peak() - before)
}

#[test]
fn attention_memory_grows_linearly_with_the_number_of_tokens() -> Result<()> {
    peak(64)?; // allocates the threads and their buffers for products once
    let (short, long) = (peak(1024)?, peak(4096)?); // includes each thread's block of weights
    assert!(long < 6 * short, "4 times the tokens took {long} bytes against {short}");
    assert!(long < 4096 * 4096, "a quarter of one head's (T, T) matrix would be {long} bytes");
    Ok(())
}
