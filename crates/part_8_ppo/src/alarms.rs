//! 8.5 Alarms: the known ways in which PPO runs fail, reported with the likely cause.

use candle_core::DType;
use experiment::{Alarm, Plateau};
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
/// Largest deviation of the first ratio from 1 that rounding explains, of a policy in f32.
const RATIO_TOLERANCE: f64 = 1e-3;
/// Largest such deviation in 16 bits: a logit between 16 and 32 that sampler and update round to
/// different neighbors in bf16 moves by 1/8, and the hidden states before it differ, too.
const RATIO_TOLERANCE_16_BITS: f64 = 0.2;

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
    /// Dtype in which the policy computes.
    pub dtype: DType,
    /// Plateau of the rewards.
    pub plateau: Option<Plateau>,
}

/// Health checks of a run, part of its checkpoints.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PpoAlarms {
    first_entropy: Option<f64>,
}

impl PpoAlarms {
    /// Alarms of a step.
    pub fn check(&mut self, inputs: &HealthInputs) -> Vec<Alarm> {
        let HealthInputs { entropy, kl_per_token, eos_rate, truncation, .. } = *inputs;
        let HealthInputs { first_ratio_error, dtype, plateau, .. } = *inputs;
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
        let mut alarms = Vec::from_iter(plateau.and_then(|plateau| plateau.alarm()));
        if first_ratio_error > ratio_tolerance(dtype) {
            let message = format!(
                "a ratio differs from 1 by {first_ratio_error:.4} before the first update: \
                 sampling and training compute different probabilities (temperature, filters, \
                 dropout, dtype)"
            );
            alarms.push(Alarm::new("ratio_not_one", message).with_severity(first_ratio_error));
        }
        if entropy < MIN_ENTROPY_FRACTION * first {
            let message = format!(
                "the entropy has collapsed from {first:.3} to {entropy:.4} nats, so the policy no \
                 longer explores: try a smaller --lr, a larger --kl-coef or an --entropy-coef"
            );
            alarms.push(Alarm::new("entropy_collapsed", message).with_severity(first / entropy));
        }
        if kl_per_token > MAX_KL_PER_TOKEN {
            let message = format!(
                "the KL to the reference model is {kl_per_token:.2} nats per token: the policy \
                 may have left the language to raise its reward; raise --kl-coef, or set an \
                 --adaptive-kl-target"
            );
            alarms.push(Alarm::new("high_kl", message).with_severity(kl_per_token));
        }
        if eos_rate < min_eos_rate {
            let message = format!(
                "{:.1} % of the completions end with a stop token: --max-new-tokens may be too \
                 small, or {advice}",
                100. * eos_rate
            );
            alarms.push(Alarm::new("no_stop", message).with_severity(1. / eos_rate));
        }
        alarms
    }
}

/// Largest |ratio − 1| before the first update that rounding explains, of a policy that computes in
/// `dtype`.
pub fn ratio_tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F16 | DType::BF16 => RATIO_TOLERANCE_16_BITS,
        _ => RATIO_TOLERANCE,
    }
}

/// Alarm of a step that is skipped because of the rewards that `bad` names.
pub fn skipped_step(bad: &str) -> Alarm {
    Alarm::new("skipped_step", format!("the step is skipped: {bad}"))
}

/// Alarm of a validation that is ignored because of the rewards that `bad` names.
pub fn ignored_validation(bad: &str) -> Alarm {
    Alarm::new("ignored_validation", format!("the validation is ignored: {bad}"))
}

/// Alarm of a step whose rewards differ, but not within a group; `reward_mean` is their mean.
pub fn no_better_completion(reward_mean: f64) -> Alarm {
    let message = format!(
        "no completion is better than the others of its group, so there is nothing to learn from \
         (mean reward {reward_mean:.3}): some prompts are always solved and the others never; \
         raise --group-size or --temperature, or take prompts of medium difficulty"
    );
    Alarm::new("no_better_completion", message)
}
