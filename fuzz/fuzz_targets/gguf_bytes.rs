//! GGUF files as bytes: [`fuzz::gguf_file`] would write none of those that are damaged in their
//! structure.
#![no_main]

use std::cell::RefCell;

use fuzz::{Scratch, opened_gguf};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new("gguf_bytes"));
}

fuzz_target!(|bytes: &[u8]| {
    SCRATCH.with_borrow_mut(|scratch| {
        let path = scratch.write("model.gguf", bytes);
        opened_gguf::check(&path);
    });
});
