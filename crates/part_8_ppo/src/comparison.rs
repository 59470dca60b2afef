//! 8.5 Comparison of a policy with its reference: the same held-out prompts, the same reward
//! function.
//!
//! ```text
//! win rate = (wins + ½ ties) / n          its interval is Wilson's: sensible at 0 and 1 too
//! KL       = mean over completions sampled from π of Σ_t Σ_v π(v) (log π(v) − log π_ref(v))
//! ```
//!
//! A policy that got better at what is rewarded and worse at everything else has a large KL.

use anyhow::{Result, bail};
use candle_core::{D, DType};
use experiment::statistics::wilson_interval;
use modern::{GptModern, Sampler, SamplingStrategy};
use reward::metrics::accuracy;
use serde::Serialize;
use tensor_core::Rng;
use tensor_core::ops::log_softmax;

use crate::completion_eval::{
    CompletionEvalConfig, ScoredCompletion, compute_metrics, non_finite_reward_message,
};
use crate::log_probs::hidden_of_groups;
use crate::prompts::{PromptExample, prompt_ids};
use crate::reward_fn::RewardFn;
use crate::rollout::{RolloutConfig, rollout};

/// Evaluation of a policy against its reference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PolicyComparison {
    /// Number of prompts.
    pub n: usize,
    /// Mean reward of the policy.
    pub reward_mean: f64,
    /// Mean reward of the reference.
    pub reward_ref_mean: f64,
    /// Share of prompts on which the policy's reward is higher, plus half of the ties.
    pub win_rate: f64,
    /// Lower end of the win rate's 95 % interval.
    pub win_rate_low: f64,
    /// Upper end of the win rate's 95 % interval.
    pub win_rate_high: f64,
    /// KL(policy ‖ reference) in nats per token, exact at each, on completions that are sampled at
    /// temperature 1; the other metrics are those of the completions that were rewarded.
    #[serde(rename = "kl")]
    pub kl_per_token: f64,
    /// KL(policy ‖ reference) in nats per completion: summed over tokens, mean over completions.
    pub kl_per_completion: f64,
    /// Mean length, in tokens, of the completions of the KL: `kl_per_completion` over `kl`.
    pub kl_length_mean: f64,
    /// Mean length of the policy's completions that were rewarded, in tokens.
    pub length_mean: f64,
    /// Exact match of the policy, if there are right answers.
    pub exact_match: Option<f64>,
    /// Relaxed match of the policy.
    pub relaxed_match: Option<f64>,
    /// Exact match of the reference.
    pub exact_match_ref: Option<f64>,
    /// Relaxed match of the reference.
    pub relaxed_match_ref: Option<f64>,
    /// Share of the policy's completions that terminated.
    pub eos_rate: f64,
}

/// Completions of `policy` and `reference`, both built for inference, for `prompts`, sampled by
/// `strategy`, rewarded by `reward_fn` and compared.
///
/// # Errors
/// When a prompt fills a context or a reward is not finite, and those of `reward_fn`.
pub fn compare_to_reference(
    policy: &GptModern,
    reference: &GptModern,
    prompts: &[PromptExample],
    eval_config: CompletionEvalConfig<'_>,
    strategy: SamplingStrategy,
    reward_fn: &mut RewardFn,
    rng: &mut Rng,
) -> Result<(PolicyComparison, [Vec<ScoredCompletion>; 2])> {
    let ours = eval_config.generate_and_score(policy, prompts, strategy, reward_fn, rng)?;
    let theirs = eval_config.generate_and_score(reference, prompts, strategy, reward_fn, rng)?;
    if let Some(bad) =
        non_finite_reward_message(&ours).or_else(|| non_finite_reward_message(&theirs))
    {
        bail!("the models cannot be compared: {bad}");
    }
    let [a, b] = [&ours, &theirs].map(|completions| compute_metrics(prompts, completions));
    let rewards: Vec<[f64; 2]> =
        ours.iter().zip(&theirs).map(|(a, b)| [a.reward, b.reward]).collect();
    let win_rate = accuracy(&rewards);
    let [win_rate_low, win_rate_high] = wilson_interval(win_rate, a.n);
    let ids = prompt_ids(prompts);
    let ExactKl { per_completion, per_token, length_mean } =
        exact_kl(policy, reference, &ids, eval_config, rng)?;
    let comparison = PolicyComparison {
        n: a.n,
        reward_mean: a.reward_mean,
        reward_ref_mean: b.reward_mean,
        win_rate,
        win_rate_low,
        win_rate_high,
        kl_per_token: per_token,
        kl_per_completion: per_completion,
        kl_length_mean: length_mean,
        length_mean: a.length_mean,
        exact_match: a.exact_match,
        relaxed_match: a.relaxed_match,
        exact_match_ref: b.exact_match,
        relaxed_match_ref: b.relaxed_match,
        eos_rate: a.eos_rate,
    };
    Ok((comparison, [ours, theirs]))
}

/// KL(policy ‖ reference) in nats, on completions of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ExactKl {
    /// Mean over completions of the sum over their tokens.
    pub per_completion: f64,
    /// Mean over tokens.
    pub per_token: f64,
    /// Mean length of the completions, in tokens.
    pub length_mean: f64,
}

/// KL(policy ‖ reference) on completions that the policy samples at temperature 1, one for each of
/// `prompt_ids`; exact at each token, because it sums over the vocabulary.
///
/// # Errors
/// When a prompt fills a context.
pub fn exact_kl(
    policy: &GptModern,
    reference: &GptModern,
    prompt_ids: &[Vec<u32>],
    eval_config: CompletionEvalConfig<'_>,
    rng: &mut Rng,
) -> Result<ExactKl> {
    let config = RolloutConfig::new(
        1,
        Sampler::new(SamplingStrategy::new(1., None, None, None)),
        eval_config.max_new_tokens,
        eval_config.chat_tokenizer.stop_token_ids().to_vec(),
    );
    let (mut nats, mut n_tokens) = (0., 0);
    for prompts in prompt_ids.chunks(eval_config.batch_size.max(1)) {
        let groups = rollout(policy, prompts, &config, rng)?;
        let [hidden, ref_hidden] =
            [policy, reference].map(|model| hidden_of_groups(model, &groups));
        let ref_hidden = ref_hidden?;
        let reference = reference.clone();
        let kl = policy.map_logits(&hidden?, move |rows, logits| {
            let ref_hidden = ref_hidden.narrow(0, rows.start, rows.len())?;
            let ref_logits = reference.logits(&ref_hidden)?.to_dtype(logits.dtype())?;
            let (p, q) = (log_softmax(logits)?, log_softmax(&ref_logits)?); // (n, V)
            Ok(vec![(p.exp()? * (p - q)?)?.sum(D::Minus1)?])
        })?;
        let kl = &kl[0]; // (N)
        n_tokens += kl.dim(0)?;
        nats += kl.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
    }
    let mean = |n: usize| nats / n.max(1) as f64;
    let n = prompt_ids.len();
    let length_mean = n_tokens as f64 / n.max(1) as f64;
    Ok(ExactKl { per_completion: mean(n), per_token: mean(n_tokens), length_mean })
}
