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
pub use collection::Collection;
pub use columns::Columns;
pub use evaluation::{Evaluation, evaluate};
pub use exam::Exam;
pub use losses::{LossKind, PreferenceLoss};
pub use normalisation::Normalisation;
pub use pairs::{Batch, Pair, tokenize};
pub use preference::{Preference, Preferences};
pub use reward_model::{Architecture, RewardModel};
pub use rule::Rule;
pub use source::Source;
pub use training::{TrainConfig, train};

#[cfg(test)]
mod tests;
