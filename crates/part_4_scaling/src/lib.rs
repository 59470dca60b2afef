#![doc = include_str!("../README.md")]

pub mod pretokenizer; // 4.1
pub mod bpe;
mod pair_counts;
pub mod merges_file;
pub mod tokenizer_training;
pub mod data_loader;
pub mod accumulation; // 4.2
pub mod grad_scaler;
pub mod schedule; // 4.3
pub mod pretrain_state;
pub mod step_metrics;
pub mod pretrain_log;
pub mod evaluation;
pub mod training;
pub mod model_folder;
pub mod flags;
pub mod command;

pub use bpe::Bpe;
pub use data_loader::{DataLoader, LoaderState};
pub use pretrain_log::PretrainLog;
pub use pretrain_state::PretrainState;
pub use schedule::LrSchedule;
pub use training::{TrainConfig, train};

#[cfg(test)]
mod tests;
