#![doc = include_str!("../README.md")]

#[macro_use]
extern crate tensor_core; // its `println!` and the like, which do not panic

pub mod pretokenizer; // 4.1
pub mod naive_bpe;
pub mod bpe;
mod pair_counts;
pub mod tokenizer_training;
pub mod data_loader;
pub mod accumulation; // 4.2
pub mod grad_scaler;
pub mod schedule; // 4.3
pub mod run_defaults;
pub mod step;
pub mod training;
pub mod pretrain_state; // 4.4
pub mod metrics; // 4.5
pub mod evaluation;
pub mod flags;
pub mod command;

pub use bpe::Bpe;
pub use data_loader::{DataLoader, LoaderState};
pub use pretrain_state::{PretrainState, TrainConfig};
pub use run_defaults::{DefaultLength, DefaultLr, RunDefaults};
pub use schedule::LrSchedule;
pub use training::train;

#[cfg(test)]
mod tests;
