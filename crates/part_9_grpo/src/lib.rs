#![doc = include_str!("../README.md")]

// Letters used in shapes: B batch (rows), T time (tokens), C channels, V vocabulary, G completions
// of a prompt, R completions of a micro-batch, N sampled tokens.

#[macro_use]
extern crate tensor_core; // its `println!` and the like, which do not panic

pub mod advantage; // 9.1, 9.2
pub mod method;
pub mod reinforce; // 9.3
pub mod aggregation;
pub mod objective;
pub mod kl; // 9.4
pub mod overlong;
pub mod rewards; // rewards
pub mod weighted_rewards;
pub mod task; // tasks
pub mod task_dataset;
pub mod step; // 9.5
pub mod experience;
pub mod config;
pub mod reference;
pub mod policy;
pub mod training;
pub mod validator;
pub mod update_metrics;
pub mod metrics;
pub mod progress;
pub mod pass_at_k; // evaluation
pub mod evaluation;
pub mod results_table;
pub mod flags;
pub mod ref_sync_flags;
pub mod grpo_flags;
pub mod command;

pub use advantage::{Baseline, advantages};
pub use aggregation::Aggregation;
pub use config::{AdvantageConfig, GrpoConfig, GrpoUpdateConfig};
pub use evaluation::GrpoEvaluator;
pub use experience::{GrpoExperience, MicroBatch};
pub use kl::KlLoss;
pub use method::Method;
pub use objective::{LossInputs, LossLevel, Objective};
pub use overlong::OverlongHandling;
pub use pass_at_k::pass_at_k;
pub use policy::Policy;
pub use progress::GrpoProgress;
pub use reference::{ReferenceModel, ReferenceUpdate};
pub use step::grpo_step;
pub use task::Task;
pub use task_dataset::TaskDataset;
pub use training::train;
pub use validator::GrpoValidator;
pub use weighted_rewards::WeightedRewards;

#[cfg(test)]
mod tests;
