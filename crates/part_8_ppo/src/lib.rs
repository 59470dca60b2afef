#![doc = include_str!("../README.md")]

// Letters used in shapes: R completions, T tokens of the longest completion, N tokens of all
// completions, B rows that a model reads, S their length, C channels, V vocabulary. In 8.1: Y all
// completions of the tabular MDP, G sampled ones, B groups of them.

#[macro_use]
extern crate tensor_core; // its `println!` and the like, which do not panic

pub mod tabular_mdp; // 8.1
pub mod policy_gradient;
pub mod reinforce;
pub mod gradient_variance;
pub mod trust_region;
pub mod critic; // 8.2
pub mod prompts; // 8.3
pub mod rollout_group;
pub mod rollout;
pub mod token_batch;
pub mod log_probs;
pub mod reference;
pub mod masked; // 8.4
pub mod kl;
pub mod rewards;
pub mod gae;
pub mod losses;
pub mod ptx_loss;
pub mod step; // 8.5
pub mod experience;
pub mod training;
pub mod rank_rollouts;
pub mod reward_fn;
pub mod reward_model_fn;
pub mod scoring_counter;
pub mod scoring;
pub mod reward_program;
#[cfg_attr(not(target_os = "linux"), path = "sandbox/elsewhere.rs")]
pub mod sandbox;
pub mod code_reward;
pub mod judge;
pub mod actor_critic;
pub mod config;
pub mod metrics;
pub mod completion_log;
pub mod alarms;
pub mod completion_eval;
pub mod validator;
pub mod comparison;
pub mod flags;
pub mod reward_flags;
pub mod reward_fn_flags;
pub mod ppo_flags;
pub mod policy_checks;
pub mod command;

pub use actor_critic::{ActorCritic, RunInputs};
pub use comparison::{PolicyComparison, compare_to_reference};
pub use completion_eval::{CompletionEvalConfig, ScoredCompletion};
pub use completion_log::CompletionLog;
pub use config::{PpoConfig, PpoContext, PpoUpdateConfig};
pub use critic::{Critic, CriticBackbone, CriticValues};
pub use experience::{MicroBatch, PpoExperience};
pub use gae::{GaeConfig, GaeOutput, gae};
pub use gradient_variance::GradientMoments;
pub use kl::{KlController, KlEstimator};
pub use log_probs::{LogProbsAndEntropy, log_probs_and_entropy};
pub use losses::{Clip, clipped_surrogate};
pub use masked::{masked_mean, masked_whiten};
pub use metrics::PpoUpdateMetrics;
pub use prompts::{PromptExample, PromptLoader};
pub use ptx_loss::PtxLoss;
pub use rank_rollouts::rollout_share;
pub use reinforce::{RewardBaseline, reinforce_loss};
pub use reward_fn::{RewardFn, RewardInput, ScoredRollouts};
pub use rewards::{RewardShapingConfig, TruncationHandling};
pub use rollout::{RolloutConfig, rollout};
pub use rollout_group::{AllowedTokens, RolloutGroup, SampledCompletion};
pub use scoring::Scoring;
pub use scoring_counter::ScoringCounter;
pub use step::ppo_step;
pub use token_batch::TokenBatch;
pub use training::train;
pub use validator::PpoValidator;

#[cfg(test)]
mod tests;
