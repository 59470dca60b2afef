#![doc = include_str!("../README.md")]

// Letters used in shapes: B batch (rows; of P pairs, 2 P), T time (tokens), C channels.

pub mod reward_model; // 7.2
pub mod normalisation;
pub mod model_folder;
pub mod checkpoint;

pub use checkpoint::RewardCheckpoint;
pub use normalisation::Normalisation;
pub use reward_model::{Architecture, RewardModel};
