//! Weights in PyTorch's `.bin` files. The first byte says what the rest is: a whole archive, or a
//! pickle that is put into one.
#![no_main]

use std::cell::RefCell;
use std::io::{Cursor, Write};

use candle_core::{DType, Device};
use fuzz::{Scratch, small_model};
use libfuzzer_sys::fuzz_target;
use model_io::model_folder;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Length of each of the two files of numbers beside a pickle.
const NUMBERS: usize = 64;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new("pytorch_bin"));
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let archive = if kind % 2 == 0 { bytes.to_vec() } else { with_pickle(bytes) };
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.write("pytorch_model.bin", &archive);
        let (folder, config) = (scratch.path(), small_model::config());
        let _ = model_folder::read_parameters(folder, &config, DType::F32, &Device::Cpu);
    });
});

/// Archive of a pickle and two files of numbers.
fn with_pickle(pickle: &[u8]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let numbers = &[0x3d; NUMBERS][..];
    for (name, content) in [("data.pkl", pickle), ("data/0", numbers), ("data/1", numbers)] {
        zip.start_file(format!("archive/{name}"), options).expect("the name is valid");
        zip.write_all(content).expect("a vector takes all bytes");
    }
    zip.finish().expect("a vector takes all bytes").into_inner()
}
