#![doc = include_str!("../README.md")]

// Letters in shapes: P pairs, B batch rows (2P for pairs), T time (tokens), C channels.

#[macro_use]
extern crate tensor_core; // its `println!` and the like, which do not panic

pub mod reward_model; // 7.2
pub mod initialization;
pub mod checkpoint;
pub mod model_folder;
pub mod tokenized_pairs;
pub mod losses; // 7.3
pub mod step;
pub mod training;
pub mod metrics; // 7.4
pub mod evaluation;
pub mod normalization;
pub mod validator;
pub mod source; // data
pub mod helpfulness;
pub mod preference_rule;
pub mod annotation_file;
pub mod agreement;
pub mod flags;
pub mod command;
pub mod testing;

pub use annotation_file::AnnotationFile;
pub use checkpoint::RewardCheckpoint;
pub use evaluation::{RewardEvalMetrics, evaluate};
pub use losses::{LossKind, PreferenceLoss};
pub use normalization::RewardNormalization;
pub use preference_rule::PreferenceRule;
pub use reward_model::{RewardArchitecture, RewardModel};
pub use source::PreferenceSource;
pub use step::TrainConfig;
pub use tokenized_pairs::{PairBatch, TokenizedPair, tokenize_pairs};
pub use training::train;
pub use validator::RewardValidator;

#[cfg(test)]
mod tests;
