//! Flags of PPO, and what they describe.

mod objective;
mod rewards;
mod rollout;
mod scorer;

pub use objective::PpoObjectiveFlags;
pub use rewards::RewardShapingFlags;
pub use rollout::RolloutFlags;
pub use scorer::RewardFnFlags;
