#![doc = include_str!("../README.md")]

pub mod pieces; // 4.1
pub mod bpe;
mod pair_counts;
pub mod merges_file;
pub mod text_files;
pub mod tokenizer_training;

pub use bpe::Bpe;

#[cfg(test)]
mod tests;
