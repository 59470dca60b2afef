//! 8.4 Alarms: how PPO runs fail, said at once and with the likely cause.

use serde::{Deserialize, Serialize};

/// A policy whose first entropy falls to this share of itself has made up its mind about everything.
const MIN_ENTROPY_FRACTION: f64 = 0.02;
/// Further than this from the reference, in nats per token, scores no longer mean what they meant.
const MAX_KL_PER_TOKEN: f64 = 2.;
/// Fewer responses than this end themselves.
const MIN_EOS_RATE: f64 = 0.05;
/// What rounding leaves between two ways to compute a ratio of 1.
const RATIO_TOLERANCE: f64 = 1e-3;

/// What a step is judged by.
#[derive(Debug, Clone, Copy)]
pub struct HealthInputs {
    /// Of a token, in nats.
    pub entropy: f64,
    /// To the reference, of a token, in nats.
    pub kl_per_token: f64,
    /// Share of the responses that ended themselves.
    pub eos_rate: f64,
    /// The furthest from 1 that a ratio was before the first step.
    pub first_ratio_error: f64,
    /// Whether all responses scored the same.
    pub all_rewards_equal: bool,
}

/// Watches a run. Each alarm rings once until its cause is gone, also where a run goes on from a checkpoint, which keeps this.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PpoAlarms {
    first_entropy: Option<f64>,
    #[serde(alias = "ringing")]
    active: [bool; 5],
}

impl PpoAlarms {
    /// What is wrong with step `step`, if anything is.
    pub fn check(&mut self, step: usize, signs: &HealthInputs) -> Vec<String> {
        let HealthInputs {
            entropy,
            kl_per_token,
            eos_rate,
            first_ratio_error,
            all_rewards_equal: scores_alike,
        } = *signs;
        let first = *self.first_entropy.get_or_insert(entropy);
        let found = [
            (first_ratio_error > RATIO_TOLERANCE).then(|| format!(
                "a ratio is {first_ratio_error:.4} away from 1 before the policy has moved: what scores responses is not what drew \
                 them (temperature, filters, dropout, number type)"
            )),
            (entropy < MIN_ENTROPY_FRACTION * first).then(|| format!(
                "the entropy has collapsed from {first:.3} to {entropy:.4} nats: the policy has nothing left to try; a smaller --lr, \
                 a larger --kl-coef or an --entropy-coef keeps it open"
            )),
            (kl_per_token > MAX_KL_PER_TOKEN).then(|| format!(
                "the policy is {kl_per_token:.2} nats per token from its reference: it may please the scorer with what is no \
                 language any more; raise --kl-coef, or give a --adaptive-kl-target"
            )),
            (eos_rate < MIN_EOS_RATE).then(|| format!(
                "{:.1} % of the responses end themselves: --max-new-tokens may be too small, or the policy never learned to stop \
                 (--missing-eos-penalty makes it; only with --truncation scored are the others scored)",
                100. * eos_rate
            )),
            scores_alike.then(|| {
                "all responses score the same: there is nothing to learn from; is the task too hard or too easy?".to_string()
            }),
        ];
        let mut alarms = Vec::new();
        for (ringing, alarm) in self.active.iter_mut().zip(found) {
            let before = std::mem::replace(ringing, alarm.is_some());
            alarms.extend(alarm.filter(|_| !before).map(|alarm| format!("step {step}: {alarm}")));
        }
        alarms
    }
}
