#![doc = include_str!("../README.md")]

// Letters used in shapes: B batch, T time (tokens), N = B T tokens, C channels (n_embd), E experts,
// K experts per token, F width of an expert, V vocabulary.

#[macro_use]
extern crate tensor_core; // its `println!` and the like, which do not panic

pub mod config;
pub mod router; // 5.1
pub mod auxiliary_losses;
pub mod balancing_bias;
pub mod expert_load;
pub mod experts; // 5.2
pub mod dispatch;
pub mod moe_layer;
pub mod hybrid; // 5.3
pub mod model;
pub mod model_folder;
pub mod load_monitor;
pub mod train_state;
pub mod training;
pub mod picture;
pub mod command;

pub use config::{
    DenseBranch, ExpertSelection, GateWeights, LoadBalancing, MoeConfig, RouterConfig,
    RouterTrainingConfig,
};
pub use dispatch::Dispatch;
pub use expert_load::ExpertLoad;
pub use experts::Experts;
pub use model::GptMoe;
pub use moe_layer::MoeLayer;
pub use router::{Router, RouterOutput, Routing};
pub use train_state::{MoeTrainOutcome, MoeTrainState};
pub use training::{RoutedModel, TrainConfig, train};

#[cfg(test)]
mod tests;
