//! Flags of PPO, and the settings that they describe.

mod objective;
mod rewards;
mod rollout;
mod reward_fn;

pub use objective::PpoObjectiveFlags;
pub use reward_fn::RewardFnFlags;
pub use rewards::RewardShapingFlags;
pub use rollout::RolloutFlags;
