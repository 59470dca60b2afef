#![doc = include_str!("../README.md")]

pub mod pretokenizer; // 4.1
pub mod bpe;
mod pair_counts;
pub mod merges_file;
pub mod tokenizer_training;
pub mod text_files; // data
pub mod documents;
pub mod corpus;
pub mod sha256;
pub mod token_file;
pub mod token_writer;
pub mod dataset;
pub mod data_loader;
pub mod accumulation; // 4.2
pub mod grad_scaler;
pub mod schedule; // 4.3
pub mod checkpoints; // 4.4
pub mod pretrain_state;
pub mod resume;
pub mod protobuf; // 4.5
pub mod tensorboard;
pub mod wandb;
pub mod tracker;
pub mod metrics_writer;
pub mod machine;
pub mod alarms;
pub mod step_metrics;
pub mod pretrain_log;
pub mod evaluation;
pub mod training;
pub mod model_folder;
pub mod settings;
pub mod flags;
pub mod command;

pub use bpe::Bpe;
pub use checkpoints::Checkpoints;
pub use corpus::TextCorpus;
pub use data_loader::{DataLoader, LoaderState};
pub use dataset::Dataset;
pub use pretrain_log::PretrainLog;
pub use pretrain_state::PretrainState;
pub use schedule::LrSchedule;
pub use token_file::TokenFile;
pub use token_writer::TokenWriter;
pub use training::{TrainConfig, train};

#[cfg(test)]
mod tests;
