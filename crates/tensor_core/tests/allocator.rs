//! Freed memory stays with a program that asks for it: measured by the page faults of a thread.
#![cfg(target_os = "linux")]

use std::fs;
use std::hint::black_box;
use std::thread::sleep;
use std::time::Duration;

use tensor_core::allocator::{MiMalloc, keep_freed_memory};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Bytes of a block.
const BLOCK: usize = 8 << 20;
/// Time after which mimalloc would give freed memory back: a second, and a bit.
const PURGE_DELAY: Duration = Duration::from_millis(1200);

/// Page faults of this thread so far.
fn page_faults() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/stat").expect("the state of a thread");
    // The number is the eighth field after the name of the thread, which may have spaces.
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    fields.split_whitespace().nth(7).and_then(|n| n.parse().ok()).expect("a number")
}

/// Page faults of a step that fills blocks and frees them.
fn page_faults_of_step() -> u64 {
    let before = page_faults();
    let blocks: Vec<Vec<u8>> = (0..8).map(|_| black_box(vec![1; BLOCK])).collect();
    let n_faults = page_faults() - before;
    drop(blocks);
    n_faults
}

#[test]
fn a_step_uses_the_memory_that_the_step_before_has_freed() {
    keep_freed_memory();
    assert!(page_faults_of_step() > 20, "the first step needs new memory");
    sleep(PURGE_DELAY);
    drop(black_box(vec![1u8; BLOCK])); // mimalloc gives memory back when it is called
    let n_faults = page_faults_of_step();
    assert!(n_faults < 20, "{n_faults} page faults: the memory was given back in between");
}
