#![doc = include_str!("../README.md")]

// Letters in shapes: R completions, P pairs, T tokens of the longest completion. In 10.1: Y all
// completions of the tabular MDP.

#[macro_use]
extern crate tensor_core; // its `println!` and the like, which do not panic

pub mod implicit_reward; // 10.1
pub mod tabular_dpo;
pub mod batch_log_probs; // 10.2
pub mod losses;
pub mod preference_example;
pub mod source;
pub mod log_probs;
pub mod ref_cache;
pub mod metrics;
pub mod step;
pub mod training;
pub mod validator;
pub mod sampled; // 10.3
pub mod online_context;
pub mod round;
pub mod online_validator;
pub mod online;
pub mod distillation; // 10.4
pub mod best_of_n; // 10.5
pub mod revision; // 10.6
pub mod flags;
pub mod online_flags;
pub mod command;

pub use batch_log_probs::BatchLogProbs;
pub use distillation::Divergence;
pub use implicit_reward::{implicit_reward, optimal_log_probs};
pub use losses::{DpoLoss, LossTotals, LossType};
pub use metrics::DpoMetrics;
pub use preference_example::{Label, PreferenceDataset, PreferenceExample, PreferenceRow};
pub use sampled::SampledSignal;
pub use step::{DpoBatch, DpoPolicy, TrainConfig, dpo_step};
pub use training::train;
pub use validator::DpoValidator;

#[cfg(test)]
mod tests;
