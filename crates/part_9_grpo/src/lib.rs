#![doc = include_str!("../README.md")]

// Letters used in shapes: B batch (rows), T time (tokens), C channels, V vocabulary, G completions of a prompt, N tokens that
// were drawn, U those of them that are computed apart.

pub mod advantage; // 9.1, 9.2
pub mod first_rung; // 9.3
pub mod objective;
pub mod aggregation;
pub mod kl; // 9.4
pub mod overlong;
pub mod answers; // rewards
pub mod rewards;
pub mod reward_mix;
pub mod countdown;
pub mod pass_at_k;
pub mod task; // tasks
pub mod task_files;
pub mod experience; // the loop
pub mod reference;
pub mod update;
pub mod evaluation;
pub mod figures;
pub mod so_far;
pub mod run_log;
pub mod config;
pub mod training;
pub mod task_flags;
pub mod flags;
pub mod command;

pub use advantage::{Baseline, advantages};
pub use aggregation::Aggregation;
pub use config::{GrpoConfig, GrpoUpdateConfig};
pub use experience::GrpoExperience;
pub use kl::Kl;
pub use objective::{LossInputs, Objective};
pub use overlong::Overlong;
pub use pass_at_k::pass_at_k;
pub use reward_mix::WeightedRewards;
pub use run_log::GrpoLog;
pub use so_far::RunState;
pub use task::{Task, TaskDataset};
pub use training::{GrpoContext, train};

#[cfg(test)]
mod tests;
