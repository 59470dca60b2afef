//! Weight files and token files as bytes.
#![no_main]

use std::cell::RefCell;

use datasets::TokenFile;
use fuzz::Scratch;
use libfuzzer_sys::fuzz_target;
use tensor_core::weights;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new("safetensors_bytes"));
}

fuzz_target!(|bytes: &[u8]| {
    SCRATCH.with_borrow_mut(|scratch| {
        let path = scratch.write("model.safetensors", bytes);
        if let Ok(tensors) = weights::load(&path) {
            let sizes = tensors.values().map(|t| t.elem_count() * t.dtype().size_in_bytes());
            assert!(sizes.sum::<usize>() <= bytes.len());
        }
        let _ = TokenFile::open(&path, "");
    });
});
