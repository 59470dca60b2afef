#![doc = include_str!("../README.md")]

// Letters used in shapes: R completions, T tokens of the longest completion, N tokens of all
// completions, B rows that a model reads, S their length, C channels, V vocabulary.

pub mod value_head; // 8.1
pub mod critic;
pub mod prompts; // 8.2
pub mod rollout;
pub mod token_batch;
pub mod log_probs;
pub mod reference;
pub mod masked; // 8.3
pub mod kl;
pub mod rewards;
pub mod gae;
pub mod losses;
pub mod ptx_loss;
pub mod tabular_mdp;
pub mod numbers; // 8.4
pub mod final_answer;
pub mod reward_fn;
pub mod run_inputs;
pub mod actor_critic;
pub mod config;
pub mod experience;
pub mod update;
pub mod update_metrics;
pub mod alarms;
pub mod ppo_log;
mod step_report;
pub mod completion_eval;
pub mod validator;
pub mod training;
pub mod comparison;
pub mod flags;
pub mod command;

pub use actor_critic::ActorCritic;
pub use comparison::{PolicyComparison, compare_to_reference};
pub use completion_eval::{CompletionEvalConfig, ScoredCompletion};
pub use config::PpoConfig;
pub use critic::{Critic, CriticBackbone, CriticValues};
pub use experience::{PpoExperience, ScoredRollouts};
pub use gae::{GaeConfig, GaeOutput, gae};
pub use kl::{KlController, KlEstimator};
pub use log_probs::{LogProbsAndEntropy, log_probs_and_entropy};
pub use losses::{Clip, clipped_surrogate};
pub use masked::{masked_mean, masked_whiten};
pub use ppo_log::PpoLog;
pub use prompts::{PromptExample, PromptLoader};
pub use ptx_loss::PtxLoss;
pub use reward_fn::{RewardFn, RewardInput};
pub use rewards::{RewardShapingConfig, TruncationHandling};
pub use rollout::{RolloutConfig, RolloutGroup, SampledCompletion, rollout};
pub use run_inputs::RunInputs;
pub use token_batch::TokenBatch;
pub use training::{PpoContext, train};
pub use update::{PpoUpdateConfig, update};
pub use update_metrics::PpoUpdateMetrics;
pub use validator::PpoValidator;

#[cfg(test)]
mod tests;
