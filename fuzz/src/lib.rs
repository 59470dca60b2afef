//! Machinery of the fuzz targets: files from the descriptions that targets mutate, and mutations
//! that keep a description valid JSON, so that they reach what lies behind the parser.

mod dictionary; // mutations
mod jinja_words;
mod jinja_grammar;
pub mod json_mutator;
pub mod scratch; // files
pub mod safetensors_file;
pub mod gguf_file;
pub mod opened_gguf; // invariants that targets share
pub mod small_model; // what files are opened with

pub use scratch::Scratch;

/// Fuzz target whose input is a JSON document, mutated as JSON with the words of a dictionary in
/// `dictionaries/`, and given to `$run`.
#[macro_export]
macro_rules! json_target {
    ($dictionary:literal, $run:path) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| -> libfuzzer_sys::Corpus {
            match serde_json::from_slice(data) {
                Ok(document) => {
                    $run(document);
                    libfuzzer_sys::Corpus::Keep
                }
                Err(_) => libfuzzer_sys::Corpus::Reject,
            }
        });
        libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
            let words = include_str!(concat!("../dictionaries/", $dictionary));
            $crate::json_mutator::mutate(data, size, max_size, seed, words)
        });
        libfuzzer_sys::fuzz_crossover!(|a: &[u8], b: &[u8], out: &mut [u8], seed: u32| {
            $crate::json_mutator::cross_over(a, b, out, seed)
        });
    };
}
