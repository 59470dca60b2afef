#![doc = include_str!("../README.md")]

#[macro_use]
extern crate tensor_core; // its `println!` and the like, which do not panic

mod usage_error;
pub mod program;
mod output_error;
pub mod command_line;
pub mod number;
mod precision;
pub mod flags;
pub mod settings;
pub mod run_folder;
pub mod model_runs;
pub mod rank_folder;
pub mod checkpoints;
pub mod selection;
pub mod reward_history;
pub mod train_progress;
pub mod train_state;
mod rank_weights;
pub mod interrupt;
pub mod terminal;
pub mod run;
pub mod run_setup;
pub mod run_report;
pub mod run_log_config;
pub mod run_log;
pub mod progress;
pub mod alarms;
pub mod divergence;
pub mod metrics_writer;
pub mod tracker;
pub mod tensorboard;
pub mod wandb;
mod protobuf;
pub mod statistics;
pub mod loss_curve;
pub mod histogram;
pub mod picture;
pub mod machine;
pub mod training_memory;

pub use alarms::Alarm;
pub use checkpoints::Checkpoints;
pub use divergence::ensure_finite;
pub use interrupt::Interrupt;
pub use metrics_writer::Plot;
pub use reward_history::{Plateau, RewardHistory};
pub use run::{Run, RunCheckpoints, is_due};
pub use run_folder::RunFolder;
pub use run_log::RunLog;
pub use run_log_config::{RunLogConfig, StepMetrics};
pub use run_setup::RunSetup;
pub use selection::{Score, Target};
pub use train_progress::{LengthGrouping, TrainProgress};
pub use train_state::TrainState;

#[cfg(test)]
mod tests;
