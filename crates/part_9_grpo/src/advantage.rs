//! 9.1, 9.2 Advantages without a value function: a prompt's completions are each other's baseline.
//!
//! ```text
//! GRPO        A_i = (r_i − mean(r)) / (std(r) + ε)                 Shao et al., <https://arxiv.org/abs/2402.03300>
//! Dr. GRPO    A_i =  r_i − mean(r)                                 Liu et al., <https://arxiv.org/abs/2503.20783>
//! RLOO        A_i =  r_i − mean of the others' r                   Ahmadian et al., <https://arxiv.org/abs/2402.14740>
//! REINFORCE   A_i =  r_i − mean over the whole batch
//! best of n   A_i =  1 for the best of the group, 0 for the others: imitation, as if it had been demonstrated
//! ```
//!
//! mean and std are those of the G completions of one prompt. A completion's reward is part of its group's mean, so what
//! Dr. GRPO climbs is (G − 1)/G of the gradient, in the right direction; RLOO's is the gradient itself. Division by the
//! standard deviation makes prompts that are nearly always or hardly ever solved count for more (a bias of its own).
//!
//! A group belongs to a prompt by its place, never by the prompt's text: the same prompt twice in a batch is two groups.

use candle_core::{Result, bail};
use serde::Serialize;

/// What a completion's reward is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Baseline {
    /// The group's mean; divided by its standard deviation, that of a sample (G − 1), as TRL has it
    GroupStd,
    /// The same with the standard deviation of all (G)
    GroupStdPopulation,
    /// The group's mean, not divided (Dr. GRPO)
    GroupMean,
    /// The mean of the others in the group (RLOO)
    LeaveOneOut,
    /// The mean of the whole batch (REINFORCE)
    BatchMean,
    /// None: the best of a group is imitated, the others are not looked at (best of n)
    BestOfGroup,
}

/// The advantages that `rewards` are, where each `group_size` in a row belong to one prompt; `epsilon` keeps a small standard
/// deviation from making them large.
///
/// # Errors
/// When groups have fewer than two members, `rewards` are no whole number of groups, or one is not a number.
pub fn advantages(
    rewards: &[f32],
    group_size: usize,
    baseline: Baseline,
    epsilon: f64,
) -> Result<Vec<f32>> {
    if group_size < 2 {
        bail!(
            "a group of {group_size} has nothing to compare a completion with: every advantage would be 0"
        );
    }
    if !rewards.len().is_multiple_of(group_size) {
        bail!("{} rewards are no whole number of groups of {group_size}", rewards.len());
    }
    if let Some(at) = rewards.iter().position(|reward| !reward.is_finite()) {
        bail!("the reward of completion {at} is {}", rewards[at]);
    }
    let mut values = Vec::with_capacity(rewards.len());
    let of_batch = mean(rewards);
    for group in rewards.chunks_exact(group_size) {
        let equal = group.iter().all(|reward| *reward == group[0]);
        if equal && baseline != Baseline::BatchMean {
            values.resize(values.len() + group_size, 0.); // exactly: a mean of equals may be off by a rounding
            continue;
        }
        let (g, of_group) = (group_size as f64, mean(group));
        let variance =
            |n: f64| group.iter().map(|&r| (f64::from(r) - of_group).powi(2)).sum::<f64>() / n;
        let (center, scale) = match baseline {
            Baseline::GroupStd => (of_group, 1. / (variance(g - 1.).sqrt() + epsilon)),
            Baseline::GroupStdPopulation => (of_group, 1. / (variance(g).sqrt() + epsilon)),
            Baseline::GroupMean => (of_group, 1.),
            Baseline::LeaveOneOut => (of_group, g / (g - 1.)), // r − mean of the others = G/(G − 1) (r − mean)
            Baseline::BatchMean => (of_batch, 1.),
            Baseline::BestOfGroup => {
                let best = group.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let first = group.iter().position(|reward| *reward == best);
                values.extend((0..group_size).map(|i| f32::from(u8::from(Some(i) == first))));
                continue;
            }
        };
        values.extend(group.iter().map(|&r| ((f64::from(r) - center) * scale) as f32));
    }
    Ok(values)
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len().max(1) as f64
}
