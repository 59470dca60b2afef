#![doc = include_str!("../README.md")]

pub mod pieces; // 4.1
pub mod bpe;
mod pair_counts;
pub mod merges_file;
pub mod tokenizer_training;
pub mod text_files; // data
pub mod documents;
pub mod corpus;
pub mod fingerprint;
pub mod token_file;
pub mod token_writer;
pub mod dataset;
pub mod windows;
pub mod accumulation; // 4.2
pub mod loss_scaler;
pub mod schedule; // 4.3
pub mod checkpoints; // 4.4
pub mod run;
pub mod resume;
pub mod protobuf; // 4.5
pub mod tensorboard;
pub mod wandb;
pub mod tracker;
pub mod record;
pub mod machine;
pub mod alarms;
pub mod figures;
pub mod run_log;
pub mod evaluation;
pub mod training;
pub mod model_folder;
pub mod settings;
pub mod flags;
pub mod command;

pub use bpe::Bpe;
pub use checkpoints::Checkpoints;
pub use corpus::Corpus;
pub use dataset::Dataset;
pub use run::PretrainState;
pub use run_log::PretrainLog;
pub use schedule::LrSchedule;
pub use token_file::TokenFile;
pub use token_writer::TokenWriter;
pub use training::{TrainConfig, train};
pub use windows::{DataLoader, LoaderState};

#[cfg(test)]
mod tests;
