//! 8.5 Alarms: the known ways in which PPO runs fail, reported with the likely cause.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::rewards::TruncationHandling;

/// Fraction of the first entropy below which the policy has collapsed.
const MIN_ENTROPY_FRACTION: f64 = 0.02;
/// KL to the reference, in nats per token, beyond which rewards lose their meaning.
const MAX_KL_PER_TOKEN: f64 = 2.;
/// Share of terminated completions below which the policy does not stop.
const MIN_EOS_RATE: f64 = 0.05;
/// Share below which bootstrapped values drift: the critic's value at a cut is never a target, so
/// where most completions are cut, the values rest on it alone.
const MIN_EOS_RATE_BOOTSTRAP: f64 = 0.5;
/// Largest deviation of the first ratio from 1 that rounding explains.
const RATIO_TOLERANCE: f64 = 1e-3;

/// Quantities of a step that the alarms check.
#[derive(Debug, Clone, Copy)]
pub struct HealthInputs {
    /// Entropy per token, in nats.
    pub entropy: f64,
    /// KL to the reference model, in nats per token.
    pub kl_per_token: f64,
    /// Share of terminated completions.
    pub eos_rate: f64,
    /// Treatment of the others.
    pub truncation: TruncationHandling,
    /// Largest |ratio − 1| before the first update.
    pub first_ratio_error: f64,
    /// Whether all completions got the same reward.
    pub all_rewards_equal: bool,
}

/// Cause of an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Cause {
    RatioNotOne,
    EntropyCollapsed,
    HighKl,
    NoStop,
    EqualRewards,
}

/// Health checks of a run. Each alarm is raised once until its cause is gone, also across a resume,
/// because checkpoints keep this state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PpoAlarms {
    first_entropy: Option<f64>,
    /// Causes that were present in the last step.
    #[serde(default)]
    present: BTreeSet<Cause>,
}

impl PpoAlarms {
    /// Alarms that step `step` raises.
    pub fn check(&mut self, step: usize, inputs: &HealthInputs) -> Vec<String> {
        let HealthInputs { entropy, kl_per_token, eos_rate, truncation, .. } = *inputs;
        let HealthInputs { first_ratio_error, all_rewards_equal, .. } = *inputs;
        let (min_eos_rate, advice) = match truncation {
            TruncationHandling::Terminal => {
                (MIN_EOS_RATE, "the policy never learned to stop (raise --missing-eos-penalty)")
            }
            TruncationHandling::Bootstrap => (
                MIN_EOS_RATE_BOOTSTRAP,
                "use --truncation terminal, because values that rest on bootstraps drift",
            ),
        };
        let first = *self.first_entropy.get_or_insert(entropy);
        let causes = [
            (Cause::RatioNotOne, (first_ratio_error > RATIO_TOLERANCE).then(|| format!(
                "a ratio differs from 1 by {first_ratio_error:.4} before the first update: \
                 sampling and training compute different probabilities (temperature, filters, \
                 dropout, dtype)"
            ))),
            (Cause::EntropyCollapsed, (entropy < MIN_ENTROPY_FRACTION * first).then(|| format!(
                "the entropy has collapsed from {first:.3} to {entropy:.4} nats, so the policy no \
                 longer explores: try a smaller --lr, a larger --kl-coef or an --entropy-coef"
            ))),
            (Cause::HighKl, (kl_per_token > MAX_KL_PER_TOKEN).then(|| format!(
                "the KL to the reference model is {kl_per_token:.2} nats per token: the policy \
                 may have left the language to raise its reward; raise --kl-coef, or set an \
                 --adaptive-kl-target"
            ))),
            (Cause::NoStop, (eos_rate < min_eos_rate).then(|| format!(
                "{:.1} % of the completions end with a stop token: --max-new-tokens may be too \
                 small, or {advice}",
                100. * eos_rate
            ))),
            (Cause::EqualRewards, all_rewards_equal.then(|| {
                "all completions get the same reward, so there is nothing to learn from: is the \
                 task too hard or too easy?"
                    .to_string()
            })),
        ];
        let mut alarms = Vec::new();
        for (cause, alarm) in causes {
            match alarm {
                Some(alarm) if self.present.insert(cause) => {
                    alarms.push(format!("step {step}: {alarm}"));
                }
                Some(_) => {}
                None => drop(self.present.remove(&cause)),
            }
        }
        alarms
    }
}
