//! Flags of PPO, and what they describe.

mod objective;
mod rewards;
mod rollout;
mod scorer;

pub use objective::ObjectiveFlags;
pub use rewards::RewardFlags;
pub use rollout::RolloutFlags;
pub use scorer::ScorerFlags;
