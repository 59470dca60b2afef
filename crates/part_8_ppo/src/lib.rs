#![doc = include_str!("../README.md")]

// Letters used in shapes: R responses, T tokens of the longest, N tokens of all responses, B rows that a model reads, S their
// length, C channels, V vocabulary.

pub mod value_head; // 8.1
pub mod critic;
pub mod prompts; // 8.2
pub mod rollout;
pub mod token_batch;
pub mod scoring;
pub mod reference;
pub mod masked; // 8.3
pub mod kl;
pub mod rewards;
pub mod gae;
pub mod losses;
pub mod pretraining_mix;
pub mod small_world;
pub mod numbers; // 8.4
pub mod final_answer;
pub mod scorer;
pub mod origins;
pub mod learner;
pub mod config;
pub mod experience;
pub mod update;
pub mod figures;
pub mod alarms;
pub mod run_log;
mod step_report;
pub mod answers;
pub mod exam;
pub mod training;
pub mod comparison;
pub mod flags;
pub mod command;

pub use answers::{CompletionEvalConfig, ScoredCompletion};
pub use comparison::{PolicyComparison, compare_to_reference};
pub use config::PpoConfig;
pub use critic::{Critic, CriticBackbone, CriticValues};
pub use exam::PpoValidator;
pub use experience::{PpoExperience, ScoredRollouts};
pub use figures::PpoUpdateMetrics;
pub use gae::{GaeConfig, GaeOutput, gae};
pub use kl::{KlController, KlEstimator};
pub use learner::ActorCritic;
pub use losses::{Clip, clipped_surrogate};
pub use masked::{masked_mean, masked_whiten};
pub use origins::RunInputs;
pub use pretraining_mix::PtxLoss;
pub use prompts::{PromptExample, PromptLoader};
pub use rewards::{RewardShapingConfig, TruncationHandling};
pub use rollout::{RolloutConfig, RolloutGroup, SampledCompletion, rollout};
pub use run_log::PpoLog;
pub use scorer::{RewardFn, RewardInput};
pub use scoring::{LogProbsAndEntropy, log_probs_and_entropy};
pub use token_batch::TokenBatch;
pub use training::{PpoContext, train};
pub use update::{PpoUpdateConfig, update};

#[cfg(test)]
mod tests;
