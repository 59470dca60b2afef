//! The PPO tutorial: its five exercises, under its names and in its order.

pub mod given;
pub mod compute_policy_loss;
pub mod compute_value_loss;
pub mod compute_entropy_loss;
pub mod compute_gae_advantages;
pub mod update_mini_batch;

#[cfg(test)]
mod tests;

use crate::code;
use crate::entry::Part;

/// The part.
pub const PART: Part = Part {
    number: "ppo",
    title: "PPO in five exercises",
    exercises: &[
        code!(compute_policy_loss),
        code!(compute_value_loss),
        code!(compute_entropy_loss),
        code!(compute_gae_advantages),
        code!(update_mini_batch),
    ],
    gates: ["compute_policy_loss", "compute_gae_advantages"],
    demo: &[],
};
