//! 9.1, 9.2 Advantages without a value function: a baseline from earlier rewards, or from the other
//! completions of the prompt.
//!
//! ```text
//! REINFORCE   A_i =  r_i − mean of all earlier r       Williams 1992; Ahmadian et al.
//!             A_i =  r_i − mean over the whole batch
//! RLOO        A_i =  r_i − mean of the others' r       Ahmadian et al., arxiv.org/abs/2402.14740
//! Dr. GRPO    A_i =  r_i − mean(r)                     Liu et al., arxiv.org/abs/2503.20783
//! GRPO        A_i = (r_i − mean(r)) / (std(r) + ε)     Shao et al., arxiv.org/abs/2402.03300
//! z-score     A_i = (r_i − mean(r)) / (std over the whole batch of r_j − mean(r_j) + ε)
//! best of n   A_i =  1 for the best of the group, 0 for the others (rejection sampling)
//! ```
//!
//! REINFORCE compares all prompts with one number, so its advantage says as much about the prompt
//! as about the completion: it is positive for every completion of an easy prompt. The others
//! compare a completion with its group, which removes that noise and needs several completions.
//!
//! mean and std are those of the G completions of one prompt. A completion's own reward is part of
//! its group's mean, so Dr. GRPO ascends (G − 1)/G of the gradient, in the right direction; RLOO
//! ascends the gradient itself. Division by the standard deviation gives more weight to prompts
//! that are nearly always or hardly ever solved, which is a bias of its own.
//!
//! The z-score over the batch weights all prompts alike, but its scale depends on how many of them
//! are tied: the advantages of a tied group are 0 and shrink the standard deviation, so the few
//! others are enlarged, and with them their noise. One right completion of 4 gets 1.5 from its
//! group's standard deviation; beside 1 tied group it gets 2.3 from the batch's, beside 7 it gets
//! 4.8.
//!
//! Groups are identified by position, not by the prompt's text: the same prompt twice in a batch
//! makes two groups.

use candle_core::{Result, bail};
use serde::Serialize;

/// Baseline that a completion's reward is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Baseline {
    /// Group mean, divided by the group's sample standard deviation (G − 1), as in TRL
    GroupStd,
    /// Group mean, divided by the group's population standard deviation (G)
    GroupStdPopulation,
    /// Group mean, not divided by a standard deviation (Dr. GRPO; TRL's --scale-rewards none)
    GroupMean,
    /// Group mean, then divided by the standard deviation over the batch (global z-score); noisy
    /// when most groups are tied
    #[value(alias = "z-score")]
    GroupMeanBatchStd,
    /// Mean of the other completions of the group (RLOO)
    LeaveOneOut,
    /// Moving average: mean of the rewards of all earlier steps, 0 in the first step (REINFORCE)
    MovingAverage,
    /// Mean of the whole batch (REINFORCE)
    BatchMean,
    /// Best completion of the group gets 1, the others 0 (best of n)
    BestOfGroup,
}

impl Baseline {
    /// True if a completion is compared with the others of its group.
    pub fn is_of_group(self) -> bool {
        !matches!(self, Self::MovingAverage | Self::BatchMean)
    }
}

/// Advantages of `rewards`, in which every `group_size` consecutive completions belong to one
/// prompt. `epsilon` is added to the standard deviation, so that a small one does not make
/// advantages large; `moving_average` is the mean of the rewards of all earlier steps.
///
/// # Errors
/// When groups have fewer than two completions and `baseline` compares them, when `rewards` do not
/// split into whole groups, or when one is not finite.
pub fn advantages(
    rewards: &[f32],
    group_size: usize,
    baseline: Baseline,
    epsilon: f64,
    moving_average: f64,
) -> Result<Vec<f32>> {
    if group_size < 2 && baseline.is_of_group() {
        bail!(
            "a group of {group_size} leaves nothing to compare a completion with: every advantage \
             would be 0"
        );
    }
    if !rewards.len().is_multiple_of(group_size) {
        bail!("{} rewards cannot be split into groups of {group_size}", rewards.len());
    }
    if let Some(at) = rewards.iter().position(|reward| !reward.is_finite()) {
        bail!("the reward of completion {at} is {}", rewards[at]);
    }
    let mut advantages = Vec::with_capacity(rewards.len());
    let batch_mean = mean(rewards);
    for group in rewards.chunks_exact(group_size) {
        let all_equal = group.iter().all(|reward| *reward == group[0]);
        if all_equal && baseline.is_of_group() {
            // Exactly 0: rounding can make the mean of equal numbers differ from them.
            advantages.resize(advantages.len() + group_size, 0.);
            continue;
        }
        let (g, group_mean) = (group_size as f64, mean(group));
        // ANCHOR: center
        let (center, scale) = match baseline {
            Baseline::GroupStd => (group_mean, 1. / (std(group, g - 1.) + epsilon)),
            Baseline::GroupStdPopulation => (group_mean, 1. / (std(group, g) + epsilon)),
            Baseline::GroupMean | Baseline::GroupMeanBatchStd => (group_mean, 1.),
            // r − mean of the others = G/(G − 1) (r − mean)
            Baseline::LeaveOneOut => (group_mean, g / (g - 1.)),
            Baseline::MovingAverage => (moving_average, 1.),
            Baseline::BatchMean => (batch_mean, 1.),
            // ANCHOR_END: center
            Baseline::BestOfGroup => {
                let best = group.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let first = group.iter().position(|reward| *reward == best);
                advantages.extend((0..group_size).map(|i| f32::from(u8::from(Some(i) == first))));
                continue;
            }
        };
        advantages.extend(group.iter().map(|&r| ((f64::from(r) - center) * scale) as f32));
    }
    if baseline == Baseline::GroupMeanBatchStd && advantages.iter().any(|a| *a != 0.) {
        let scale = std(&advantages, advantages.len() as f64 - 1.) + epsilon;
        advantages.iter_mut().for_each(|a| *a = (f64::from(*a) / scale) as f32);
    }
    Ok(advantages)
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len().max(1) as f64
}

/// Standard deviation of `values`, whose squared deviations from the mean are divided by `n`.
fn std(values: &[f32], n: f64) -> f64 {
    let mean = mean(values);
    let sum = values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>();
    (sum / n).sqrt()
}
