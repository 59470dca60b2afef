//! 8.4 A policy beside its reference: the same held-out questions, the same scorer.
//!
//! ```text
//! win rate = (wins + ½ ties) / n          its interval is Wilson's: sensible at 0 and 1 too
//! KL       = mean over responses of Σ_t Σ_v π(v) (log π(v) − log π₀(v)),  responses drawn from π
//! ```
//!
//! A policy that got better at what is scored and worse at all else shows in the KL.

use anyhow::{Result, bail};
use candle_core::{D, DType};
use modern::{GptModern, Sampler, SamplingStrategy};
use reward::metrics::wilson_interval;
use serde::Serialize;
use tensor_core::Rng;
use tensor_core::ops::log_softmax;

use crate::completion_eval::{
    CompletionEvalConfig, ScoredCompletion, compute_metrics, non_finite_reward_message,
};
use crate::log_probs::logits;
use crate::prompts::PromptExample;
use crate::reward_fn::RewardFn;
use crate::rollout::{RolloutConfig, rollout};
use crate::token_batch::TokenBatch;

/// A policy beside its reference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PolicyComparison {
    /// Questions.
    pub n: usize,
    /// The policy's mean score.
    pub reward_mean: f64,
    /// The reference's.
    pub reward_ref_mean: f64,
    /// Share of questions whose answer by the policy scores more; half of those that score the same.
    pub win_rate: f64,
    /// Lower end of its 95 % interval.
    pub win_rate_low: f64,
    /// Upper end.
    pub win_rate_high: f64,
    /// KL(policy ‖ reference) in nats per completion: summed over its tokens, mean over completions.
    pub kl: f64,
    /// The same in nats per token.
    pub kl_per_token: f64,
    /// The policy's answers, in tokens.
    pub length_mean: f64,
    /// Share of them that are the wanted one.
    pub exact_match: Option<f64>,
    /// The same with the form forgiven.
    pub relaxed_match: Option<f64>,
    /// The reference's share.
    pub exact_match_ref: Option<f64>,
    /// The same with the form forgiven.
    pub relaxed_match_ref: Option<f64>,
    /// Share of the policy's answers that ended themselves.
    pub eos_rate: f64,
}

/// Lets `policy` and `reference`, inference twins, answer `questions`, their tokens chosen by `choice`.
///
/// # Errors
/// When a prompt fills a context, a score is no number, and those of `scorer`.
pub fn compare_to_reference(
    [policy, reference]: [&GptModern; 2],
    questions: &[PromptExample],
    asking: CompletionEvalConfig<'_>,
    choice: SamplingStrategy,
    scorer: &mut RewardFn,
    rng: &mut Rng,
) -> Result<(PolicyComparison, [Vec<ScoredCompletion>; 2])> {
    let ours = asking.generate_and_score(policy, questions, choice, scorer, rng)?;
    let theirs = asking.generate_and_score(reference, questions, choice, scorer, rng)?;
    if let Some(bad) =
        non_finite_reward_message(&ours).or_else(|| non_finite_reward_message(&theirs))
    {
        bail!("they cannot be compared: {bad}");
    }
    let [a, b] = [&ours, &theirs].map(|answers| compute_metrics(questions, answers));
    let each = ours.iter().zip(&theirs);
    let wins: f64 = each.map(|(a, b)| win_score(a.reward, b.reward)).sum();
    let [win_rate_low, win_rate_high] = wilson_interval(wins / a.n as f64, a.n);
    let (kl, kl_per_token) = exact_kl([policy, reference], questions, asking, rng)?;
    let comparison = PolicyComparison {
        n: a.n,
        reward_mean: a.reward_mean,
        reward_ref_mean: b.reward_mean,
        win_rate: wins / a.n as f64,
        win_rate_low,
        win_rate_high,
        kl,
        kl_per_token,
        length_mean: a.length_mean,
        exact_match: a.exact_match,
        relaxed_match: a.relaxed_match,
        exact_match_ref: b.exact_match,
        relaxed_match_ref: b.relaxed_match,
        eos_rate: a.eos_rate,
    };
    Ok((comparison, [ours, theirs]))
}

fn win_score(a: f64, b: f64) -> f64 {
    if a > b {
        1.
    } else if a == b {
        0.5
    } else {
        0.
    }
}

/// KL(policy ‖ reference) of completions sampled at temperature 1, in nats per completion and in
/// nats per token; exact at each token, because it sums over the vocabulary.
fn exact_kl(
    [policy, reference]: [&GptModern; 2],
    questions: &[PromptExample],
    asking: CompletionEvalConfig<'_>,
    rng: &mut Rng,
) -> Result<(f64, f64)> {
    let config = RolloutConfig {
        group_size: 1,
        sampler: Sampler::new(SamplingStrategy::new(1., None, None, None)),
        max_new_tokens: asking.max_new_tokens,
        stop_token_ids: asking.chat_tokenizer.stop_token_ids().to_vec(),
    };
    let (mut nats, mut n_tokens) = (0., 0);
    for questions in questions.chunks(asking.batch_size.max(1)) {
        let prompts: Vec<Vec<u32>> = questions.iter().map(|one| one.prompt.clone()).collect();
        let groups = rollout(policy, &prompts, &config, rng)?;
        let log_probs = |model: &GptModern| -> Result<_> {
            let batch = TokenBatch::from_groups(&groups, model.config(), model.device())?; // each by its own window
            Ok(log_softmax(&logits(model, &batch, &batch.hidden(model)?, 1.)?)?)
        };
        let (p, q) = (log_probs(policy)?, log_probs(reference)?); // (N, V)
        let each = (p.exp()? * (p - q)?)?.sum(D::Minus1)?; // (N)
        n_tokens += each.dim(0)?;
        nats += each.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
    }
    Ok((nats / questions.len() as f64, nats / n_tokens.max(1) as f64))
}
