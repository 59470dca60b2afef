//! 10.3 Pairs of the policy's own completions, and the best of them.
//!
//! ```text
//! rollout   G completions of each prompt from the policy, each with a reward r
//! pairs     the best against the worst, the second best against the second worst, and so on, as
//!           long as their rewards differ                                   → DPO (10.2)
//! best      the best completion of a group whose rewards differ           → cross-entropy
//! ```
//!
//! Pairs of a file show completions of somebody else. DPO lowers those that the policy would never
//! write, and learns nothing about the errors that it makes. Pairs of its own completions, sampled
//! anew every few steps, are on-policy: iterated DPO (Guo et al., <https://arxiv.org/abs/2402.04792>;
//! Yuan et al., <https://arxiv.org/abs/2401.10020>). Fine-tuning on the best of n is rejection
//! sampling (RAFT, <https://arxiv.org/abs/2304.06767>): the simplest of these methods, with neither a
//! reference nor anything to learn from bad completions.

use ppo::{RolloutGroup, SampledCompletion, ScoredRollouts};
use serde::Serialize;

use crate::preference_example::{Label, PreferenceExample};

/// Signal that is taken from sampled completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum SampledSignal {
    /// Pairs of better and worse completions (iterated DPO)
    Pairs,
    /// The best completion of each group (rejection sampling)
    Best,
    /// A teacher's distribution at every token, without rewards (on-policy distillation)
    Distill,
}

impl SampledSignal {
    /// Examples from `rollouts`; none from a group whose rewards are all equal, and none for
    /// distillation, which has no rewards.
    pub fn examples(self, rollouts: &ScoredRollouts) -> Vec<PreferenceExample> {
        let mut rewards = &rollouts.rewards[..];
        let mut examples = Vec::new();
        for RolloutGroup { prompt, completions } in &rollouts.groups {
            let (group_rewards, others) = rewards.split_at(completions.len());
            rewards = others;
            // ANCHOR: examples
            let mut order: Vec<usize> = (0..completions.len()).collect();
            // Stable: of equals, the one that was sampled first.
            order.sort_by(|&a, &b| group_rewards[b].total_cmp(&group_rewards[a]));
            let best_and_worst = order.iter().zip(order.iter().rev());
            let differ = best_and_worst.filter(|&(&a, &b)| group_rewards[a] > group_rewards[b]);
            for (&better, &worse) in differ.take(self.max_examples(completions.len())) {
                let chosen = (Label::Chosen, unfiltered(&completions[better]));
                let rejected = (Label::Rejected, unfiltered(&completions[worse]));
                let labeled = match self {
                    Self::Pairs => vec![chosen, rejected],
                    Self::Best | Self::Distill => vec![chosen],
                };
                examples.push(PreferenceExample::new(prompt.clone(), labeled));
            }
            // ANCHOR_END: examples
        }
        examples
    }

    /// Largest number of examples of a group of `n` completions.
    fn max_examples(self, n: usize) -> usize {
        match self {
            Self::Pairs => n / 2,
            Self::Best => 1,
            Self::Distill => 0,
        }
    }
}

/// `completion` with its probability under the model alone: the sampling filters have no part in
/// it.
fn unfiltered(completion: &SampledCompletion) -> SampledCompletion {
    SampledCompletion { allowed_tokens: Vec::new(), ..completion.clone() }
}
