#![doc = include_str!("../README.md")]

// Letters used in shapes: P pairs, B batch (rows; of pairs, 2 P), T time (tokens), C channels.

pub mod preference; // 7.1
pub mod dialogue;
pub mod columns;
pub mod arithmetic;
pub mod manners;
pub mod source;
pub mod reward_model; // 7.2
pub mod normalisation;
pub mod model_folder;
pub mod checkpoint;
pub mod start;
pub mod pairs;
pub mod losses; // 7.3
pub mod metrics; // 7.4
pub mod evaluation;
pub mod histogram;
pub mod collection; // data of one's own
pub mod rule;
pub mod exam; // the loop
pub mod training;
pub mod flags;
pub mod command;
pub mod testing;

pub use checkpoint::RewardCheckpoint;
pub use collection::AnnotationFile;
pub use columns::PreferenceColumns;
pub use evaluation::{RewardEvalMetrics, evaluate};
pub use exam::RewardValidator;
pub use losses::{LossKind, PreferenceLoss};
pub use normalisation::RewardNormalization;
pub use pairs::{PairBatch, TokenizedPair, tokenize_pairs};
pub use preference::{FilteredPreferences, Preference};
pub use reward_model::{RewardArchitecture, RewardModel};
pub use rule::PreferenceRule;
pub use source::PreferenceSource;
pub use training::{TrainConfig, train};

#[cfg(test)]
mod tests;
