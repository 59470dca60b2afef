//! Parquet files as bytes. The library panics at some, which the reader makes an error.
#![no_main]

use std::cell::RefCell;
use std::{panic, slice, thread};

use datasets::{PreferenceColumns, read_examples};
use fuzz::Scratch;
use libfuzzer_sys::fuzz_target;
use tensor_core::threads::UNTRUSTED_CALL;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new("parquet_bytes"));
}

fuzz_target!(init: ignore_panics_of_untrusted_calls(), |bytes: &[u8]| {
    SCRATCH.with_borrow_mut(|scratch| {
        let path = scratch.write("data.parquet", bytes);
        let _ = read_examples(slice::from_ref(&path), None);
        let _ = PreferenceColumns::default().read_files(slice::from_ref(&path));
    });
});

/// Keeps libFuzzer from ending at a panic that the reader makes an error.
fn ignore_panics_of_untrusted_calls() {
    let abort = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if thread::current().name() != Some(UNTRUSTED_CALL) {
            abort(panic);
        }
    }));
}
