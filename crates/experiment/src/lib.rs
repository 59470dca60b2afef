#![doc = include_str!("../README.md")]

pub mod program;
pub mod number;
pub mod flags;
pub mod interrupt;
pub mod picture;
pub mod loss_curve;
pub mod progress;
pub mod run_folder;
pub mod training_memory;
pub mod alarms;
pub mod checkpoints;
pub mod metrics_writer;
pub mod protobuf;
pub mod tensorboard;
pub mod wandb;
pub mod tracker;
pub mod resume;
pub mod settings;
pub mod machine;

pub use checkpoints::Checkpoints;
pub use interrupt::Interrupt;
pub use run_folder::RunFolder;

#[cfg(test)]
mod tests;
