//! How many bytes attention asks for, counted by the allocator of this test's own process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Result, Var};
use tensor_core::ops::{Mask, attention};
use tensor_core::{Rng, backward};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is the system's allocator's; the counters take no part in it.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that attention over `t` tokens holds at a time, forward and backward.
fn peak(t: usize) -> Result<usize> {
    let x = Rng::new(0).normal_tensor((1, t, 2, 16), 1., DType::F32, &Device::Cpu)?;
    let x = Var::from_tensor(&x)?;
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    backward(&attention(&x, &x, &x, &Mask::causal())?)?;
    Ok(MOST.load(Ordering::Relaxed) - before)
}

#[test]
fn the_memory_of_attention_grows_with_the_tokens_and_not_with_their_square() -> Result<()> {
    peak(64)?; // the threads and their buffers for products come once
    let (short, long) = (peak(1024)?, peak(4096)?); // each with the threads' room for a block of weights
    assert!(long < 6 * short, "4 times the tokens took {long} bytes against {short}");
    assert!(long < 4096 * 4096, "a quarter of one head's (T, T) matrix would be {long} bytes");
    Ok(())
}
