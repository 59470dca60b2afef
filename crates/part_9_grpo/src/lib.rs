#![doc = include_str!("../README.md")]

// Letters used in shapes: B batch (rows), T time (tokens), C channels, V vocabulary, G completions
// of a prompt, R completions of a micro-batch, N sampled tokens.

pub mod advantage; // 9.1, 9.2
pub mod reinforce; // 9.3
pub mod objective;
pub mod aggregation;
pub mod kl; // 9.4
pub mod overlong;
pub mod answers; // rewards
pub mod rewards;
pub mod weighted_rewards;
pub mod countdown;
pub mod pass_at_k;
pub mod task; // tasks
pub mod task_files;
pub mod experience; // training loop
pub mod reference;
pub mod update;
pub mod evaluation;
pub mod step_metrics;
pub mod run_state;
pub mod grpo_log;
pub mod config;
pub mod training;
pub mod task_flags;
pub mod flags;
pub mod command;

pub use advantage::{Baseline, advantages};
pub use aggregation::Aggregation;
pub use config::{GrpoConfig, GrpoUpdateConfig};
pub use experience::GrpoExperience;
pub use grpo_log::GrpoLog;
pub use kl::KlLoss;
pub use objective::{LossInputs, Objective};
pub use overlong::OverlongHandling;
pub use pass_at_k::pass_at_k;
pub use run_state::RunState;
pub use task::{Task, TaskDataset};
pub use training::{GrpoContext, train};
pub use weighted_rewards::WeightedRewards;

#[cfg(test)]
mod tests;
