//! Flags of rollout and objective, and the configurations that they describe. Names of other
//! programs for the same setting are accepted on the command line and in a settings file:
//! `num_generations`, `kl_coeff`, `max_completion_length` and so on.

mod objective;
mod rollout;

pub use objective::GrpoObjectiveFlags;
pub use rollout::{GrpoRolloutFlags, check_rollout_size};
