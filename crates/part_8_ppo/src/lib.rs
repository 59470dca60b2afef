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

pub use answers::{Answer, Asking};
pub use comparison::{Comparison, compare};
pub use config::PpoConfig;
pub use critic::{Critic, Trunk, Values};
pub use exam::Exam;
pub use experience::{Experience, Judged};
pub use figures::Updated;
pub use gae::{Discount, Estimates, gae};
pub use kl::{KlControl, KlEstimator};
pub use learner::Learner;
pub use losses::{Clip, clipped_surrogate};
pub use masked::{masked_mean, masked_whiten};
pub use origins::Origins;
pub use pretraining_mix::PretrainingMix;
pub use prompts::{Prompts, Question};
pub use rewards::{Cut, RewardConfig};
pub use rollout::{Group, Response, RolloutConfig, rollout};
pub use run_log::RunLog;
pub use scorer::{Reply, Scorer};
pub use scoring::{Scored, score};
pub use token_batch::TokenBatch;
pub use training::{Surroundings, train};
pub use update::{UpdateConfig, update};

#[cfg(test)]
mod tests;
