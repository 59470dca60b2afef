//! Unit tests of this part, section by section.

mod bpe;
mod gpt2;
mod tokenizer_training;
mod data;
mod precision;
mod schedule;
mod run_defaults;
mod settings;
mod training;
mod muon;
mod evaluation;
mod ranks;
mod devices;
