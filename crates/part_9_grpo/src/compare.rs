//! A model beside its reference: who earns more where, and how far apart they are.
//!
//! ```text
//! win rate  (wins + ½ ties) / n, with Wilson's 95 % interval
//! kl        mean over completions of Σ_t k3_t, drawn from the model
//! ```

use anyhow::{Result, ensure};
use modern::GptModern;
use ppo::scoring::log_probs;
use ppo::{Question, RolloutConfig, TokenBatch, rollout};
use serde::Serialize;
use tensor_core::Rng;

use crate::evaluation::{Exam, Judged};

/// How a model compares.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Comparison {
    /// What the reference earns on average.
    pub reward_ref_mean: f64,
    /// Share of problems at which the model earns more, ties counted half.
    pub win_rate: f64,
    /// Lower end of its 95 % interval.
    pub win_rate_low: f64,
    /// Upper end.
    pub win_rate_high: f64,
    /// KL(π ‖ π_ref) of a whole completion, in nats.
    pub kl: f64,
}

/// Compares what `model` and `reference` said to `questions` (`judged`), and how likely the reference is to say what the model does.
///
/// # Errors
/// When the two have different tokens.
pub fn compare(
    [model, reference]: [&GptModern; 2],
    [ours, theirs]: [&[Judged]; 2],
    questions: &[Question],
    (exam, config): (&Exam<'_>, &RolloutConfig),
    rng: &mut Rng,
) -> Result<Comparison> {
    let [a, b] = [model, reference].map(|model| model.config().vocab_size);
    ensure!(
        a == b,
        "the reference has a vocabulary of {b} tokens, the model one of {a}: they cannot be compared"
    );
    let n = theirs.len() as f64;
    let won = |(ours, theirs): (&Judged, &Judged)| match ours.reward.total_cmp(&theirs.reward) {
        std::cmp::Ordering::Less => 0.,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Greater => 1.,
    };
    let win_rate = ours.iter().zip(theirs).map(won).sum::<f64>() / n;
    let (win_rate_low, win_rate_high) = wilson(win_rate, n);
    let config = RolloutConfig { samples: 1, ..config.clone() };
    let mut nats = 0.;
    for questions in questions.chunks(exam.batch_size.max(1)) {
        let prompts: Vec<Vec<u32>> = questions.iter().map(|q| q.prompt.clone()).collect();
        let groups = rollout(model, &prompts, &config, rng)?;
        let batch = TokenBatch::of(&groups, model.config(), model.device())?;
        let own = log_probs(model, &batch, config.temperature())?;
        let other = log_probs(reference, &batch, config.temperature())?; // (R, T), 0 where there is no token
        let distance = crate::Kl::K3.per_token(&own, &other, &own)?;
        nats += f64::from(distance.sum_all()?.to_scalar::<f32>()?);
    }
    Ok(Comparison {
        reward_ref_mean: theirs.iter().map(|judged| f64::from(judged.reward)).sum::<f64>() / n,
        win_rate,
        win_rate_low,
        win_rate_high,
        kl: nats / n,
    })
}

/// Wilson's 95 % interval of a share `p` of `n`.
pub fn wilson(p: f64, n: f64) -> (f64, f64) {
    let z = 1.96;
    let (middle, below) = (p + z * z / (2. * n), 1. + z * z / n);
    let half = z * (p * (1. - p) / n + z * z / (4. * n * n)).sqrt();
    (((middle - half) / below).max(0.), ((middle + half) / below).min(1.))
}
