//! 8.4 Experience: rollouts with rewards, KL, values and advantages, ready for the update.

use anyhow::Result;
use candle_core::{DType, Tensor};
use modern::GptModern;
use sft::ChatTokenizer;
use tensor_core::Rng;

use crate::actor_critic::PpoModels;
use crate::completion_eval::decode_completion;
use crate::config::PpoConfig;
use crate::gae::{GaeOutput, gae};
use crate::kl::KlEstimator;
use crate::log_probs::log_probs;
use crate::masked::{ShiftMean, masked_mean, masked_whiten};
use crate::prompts::PromptExample;
use crate::reward_fn::{RewardFn, RewardInput, call_reward_fn};
use crate::rewards::{RewardScaling, RewardShapingConfig, TruncationHandling, token_rewards};
use crate::rollout::RolloutGroup;
use crate::token_batch::TokenBatch;

/// Rollouts with their rewards.
#[derive(Debug, Clone)]
pub struct ScoredRollouts {
    /// Prompts with their completions.
    pub groups: Vec<RolloutGroup>,
    /// Decoded completions.
    pub completion_texts: Vec<String>,
    /// Reward of each of the R completions.
    pub rewards: Vec<f64>,
}

/// Experience of one PPO step: R completions, the longest of T tokens.
#[derive(Debug)]
pub struct PpoExperience {
    /// Prompts with their completions.
    pub groups: Vec<RolloutGroup>,
    /// Decoded completions.
    pub completion_texts: Vec<String>,
    /// Reward of each of the R completions.
    pub rewards: Vec<f64>,
    /// Completion mask, (R, T): 1 at tokens, 0 at padding.
    pub mask: Tensor,
    /// Log-probabilities with which the tokens were sampled: (R, T).
    pub old_log_probs: Tensor,
    /// Critic's value before each token: (R, T).
    pub values: Tensor,
    /// Whitened advantages: (R, T).
    pub advantages: Tensor,
    /// Returns, the targets of the values: (R, T).
    pub returns: Tensor,
    /// KL to the reference model in nats per completion, k1 estimate.
    pub kl: f64,
    /// KL in nats per token.
    pub kl_per_token: f64,
}

/// Decoded completions of `groups`.
///
/// # Errors
/// When a token is outside the tokenizer's vocabulary.
pub fn decode_completions(
    groups: &[RolloutGroup],
    chat_tokenizer: &ChatTokenizer,
) -> Result<Vec<String>> {
    let completions = groups.iter().flat_map(|group| &group.completions);
    completions
        .map(|one| decode_completion(&one.tokens, one.terminated(), chat_tokenizer))
        .collect()
}

/// Rewards of the completions of `groups`, whose prompts are `prompts`.
///
/// # Errors
/// Those of `reward_fn`, or when it returns another number of rewards.
pub fn compute_rewards(
    groups: &[RolloutGroup],
    prompts: &[PromptExample],
    texts: &[String],
    reward_fn: &mut RewardFn,
    rng: &mut Rng,
) -> Result<Vec<f64>> {
    let each = groups.iter().zip(prompts).flat_map(|(group, prompt)| {
        group.completions.iter().map(move |one| (one.terminated(), &prompt.example))
    });
    let inputs: Vec<RewardInput<'_>> = each
        .zip(texts)
        .map(|((terminated, example), text)| RewardInput { example, completion: text, terminated })
        .collect();
    call_reward_fn(reward_fn, &inputs, rng)
}

/// Message that names the first of `rewards` that is not finite, with its completion.
pub fn non_finite_message(rewards: &[f64], texts: &[String]) -> Option<String> {
    let at = rewards.iter().position(|reward| !reward.is_finite())?;
    let bad = rewards.iter().filter(|reward| !reward.is_finite()).count();
    let (reward, text) = (rewards[at], &texts[at]);
    Some(format!(
        "{bad} of {} rewards are not finite; the first, {reward}, is that of {text:?}",
        rewards.len()
    ))
}

impl PpoExperience {
    /// Experience from `rollouts` of `models`, with KL coefficient `kl_coef` to `reference`.
    ///
    /// # Errors
    /// When the models do not match, or a prompt is too long for one.
    pub fn from_rollouts(
        rollouts: ScoredRollouts,
        models: &PpoModels,
        reference: &GptModern,
        config: &PpoConfig,
        kl_coef: f64,
    ) -> Result<Self> {
        let ScoredRollouts { groups, completion_texts, rewards } = rollouts;
        let (policy, device) = (&models.rollout_policy, models.rollout_policy.device());
        let whole = TokenBatch::from_groups(&groups, policy.config(), device)?;
        let (mask, old_log_probs) = (whole.mask.clone(), whole.behavior_log_probs(&groups)?);
        let (mut ref_log_probs, mut values, mut bootstraps) = (Vec::new(), Vec::new(), Vec::new());
        let t = mask.dim(1)?;
        for groups in groups.chunks(config.update.micro_batch_size(groups.len())) {
            let batch = TokenBatch::from_groups(groups, policy.config(), device)?;
            let padded = |x: Tensor| x.pad_with_zeros(1, 0, t - x.dim(1)?);
            let critic_values = models.rollout_critic.values(&batch, || batch.hidden(policy))?;
            values.push(padded(critic_values.token_values)?);
            bootstraps.push(critic_values.bootstrap_values);
            // The reference model may have another sliding window.
            let batch = TokenBatch::from_groups(groups, reference.config(), device)?;
            let log_probs = log_probs(reference, &batch, config.rollout.temperature())?;
            ref_log_probs.push(padded(log_probs)?);
        }
        let ref_log_probs = Tensor::cat(&ref_log_probs, 0)?; // (R, T)
        let (values, mut bootstrap) = (Tensor::cat(&values, 0)?, Tensor::cat(&bootstraps, 0)?);

        let RewardShapingConfig {
            kl_estimator, truncation, reward_scaling, gae: gae_config, ..
        } = config.reward_shaping;
        if truncation == TruncationHandling::Terminal {
            bootstrap = bootstrap.zeros_like()?;
        }
        let completions = groups.iter().flat_map(|group| &group.completions);
        let terminal = rewards.iter().zip(completions).map(|(&reward, completion)| {
            config.reward_shaping.terminal_reward(reward, completion) as f32
        });
        let terminal = Tensor::from_iter(terminal, device)?; // (R)
        let kl = kl_estimator.estimate(&old_log_probs, &ref_log_probs)?;
        let mut shaped = token_rewards(&terminal, &kl, kl_coef, &mask)?;
        if reward_scaling == RewardScaling::Whiten {
            shaped = masked_whiten(&shaped, &mask, ShiftMean::No)?;
        }
        let GaeOutput { advantages, returns } =
            gae(&shaped, &values, &bootstrap, &mask, gae_config)?;
        let k1 = KlEstimator::K1.estimate(&old_log_probs, &ref_log_probs)?;
        let kl_per_token = f64::from(masked_mean(&k1, &mask)?.to_scalar::<f32>()?);
        Ok(Self {
            completion_texts,
            kl: kl_per_token * whole.n_tokens() as f64 / rewards.len() as f64,
            kl_per_token,
            groups,
            rewards,
            old_log_probs,
            values,
            advantages: masked_whiten(&advantages, &mask, ShiftMean::Yes)?,
            returns,
            mask,
        })
    }

    /// Explained variance of the returns by the values: 1 for perfect values, 0 for a constant,
    /// below 0 for worse than a constant.
    ///
    /// # Errors
    /// When memory is short.
    pub fn explained_variance(&self) -> Result<f64> {
        let variance = |x: &Tensor| -> Result<f64> {
            let centered = x.broadcast_sub(&masked_mean(x, &self.mask)?)?;
            let variance = masked_mean(&centered.sqr()?, &self.mask)?;
            Ok(variance.to_dtype(DType::F64)?.to_scalar()?)
        };
        let unexplained = variance(&(&self.returns - &self.values)?)?;
        Ok(1. - unexplained / variance(&self.returns)?.max(1e-8))
    }

    /// Number of completion tokens of the groups `chosen`.
    pub(crate) fn n_tokens(&self, chosen: &[usize]) -> usize {
        let completions = chosen.iter().flat_map(|&group| &self.groups[group].completions);
        completions.map(|one| one.tokens.len()).sum()
    }

    /// Rows of `x: (R, T)` that belong to groups `chosen`, the longest of which has `t` tokens.
    pub(crate) fn rows_of_groups(
        &self,
        x: &Tensor,
        chosen: &[usize],
        t: usize,
    ) -> candle_core::Result<Tensor> {
        let mut starts = vec![0u32];
        for group in &self.groups {
            starts.push(starts[starts.len() - 1] + group.completions.len() as u32);
        }
        let rows = chosen.iter().flat_map(|&group| starts[group]..starts[group + 1]);
        let rows: Vec<u32> = rows.collect();
        x.index_select(&Tensor::new(rows, x.device())?, 0)?.narrow(1, 0, t)?.contiguous()
    }
}
