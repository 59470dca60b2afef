//! 8.4 Experience: a rollout, what it scored, and how much better than expected each of its tokens was.

use anyhow::Result;
use candle_core::{DType, Tensor};
use modern::GptModern;
use sft::ChatTokenizer;
use tensor_core::Rng;

use crate::actor_critic::PpoModels;
use crate::completion_eval::decode_completion;
use crate::config::PpoConfig;
use crate::gae::gae;
use crate::kl::KlEstimator;
use crate::log_probs::log_probs;
use crate::masked::{ShiftMean, masked_mean, masked_whiten};
use crate::prompts::PromptExample;
use crate::reward_fn::{RewardFn, RewardInput, call_reward_fn};
use crate::rewards::{RewardScaling, RewardShapingConfig, TruncationHandling, token_rewards};
use crate::rollout::RolloutGroup;
use crate::token_batch::TokenBatch;

/// A rollout, and what came of it.
#[derive(Debug, Clone)]
pub struct ScoredRollouts {
    /// What was asked and answered.
    pub groups: Vec<RolloutGroup>,
    /// The responses in words.
    pub completion_texts: Vec<String>,
    /// What the scorer gave each: R
    pub rewards: Vec<f64>,
}

/// What a step learns from. R responses, the longest of T tokens.
#[derive(Debug)]
pub struct PpoExperience {
    /// What was asked and answered.
    pub groups: Vec<RolloutGroup>,
    /// The responses in words.
    pub completion_texts: Vec<String>,
    /// What the scorer gave each: R
    pub rewards: Vec<f64>,
    /// 1 where there is a token: (R, T)
    pub mask: Tensor,
    /// With which probability each was drawn: (R, T)
    pub old_log_probs: Tensor,
    /// What was expected before each: (R, T)
    pub values: Tensor,
    /// A, whitened: (R, T)
    pub advantages: Tensor,
    /// What values are to become: (R, T)
    pub returns: Tensor,
    /// The mean KL of a response to the reference, in nats.
    pub kl: f64,
    /// The same of a token.
    pub kl_per_token: f64,
}

/// The responses of `groups` in words.
///
/// # Errors
/// When a token is none of the tokenizer's.
pub fn decode_completions(groups: &[RolloutGroup], speech: &ChatTokenizer) -> Result<Vec<String>> {
    let responses = groups.iter().flat_map(|group| &group.completions);
    responses.map(|one| decode_completion(&one.tokens, one.terminated(), speech)).collect()
}

/// The scores of the responses of `groups` to `questions`.
///
/// # Errors
/// Those of `scorer`, or when it does not give a number to each.
pub fn compute_rewards(
    groups: &[RolloutGroup],
    questions: &[PromptExample],
    texts: &[String],
    scorer: &mut RewardFn,
    rng: &mut Rng,
) -> Result<Vec<f64>> {
    let each = groups.iter().zip(questions).flat_map(|(group, question)| {
        group.completions.iter().map(move |response| (response.terminated(), &question.example))
    });
    let replies: Vec<RewardInput<'_>> = each
        .zip(texts)
        .map(|((ended, example), text)| RewardInput {
            example,
            completion: text,
            terminated: ended,
        })
        .collect();
    call_reward_fn(scorer, &replies, rng)
}

/// The first of `scores` that is no number, with its response, in words.
pub fn non_finite_message(scores: &[f64], texts: &[String]) -> Option<String> {
    let at = scores.iter().position(|score| !score.is_finite())?;
    let bad = scores.iter().filter(|score| !score.is_finite()).count();
    let (score, text) = (scores[at], &texts[at]);
    Some(format!(
        "{bad} of {} scores are no numbers; the first, {score}, is of {text:?}",
        scores.len()
    ))
}

impl PpoExperience {
    /// What is to be learned from a rollout of `models`, where a nat of KL to `reference` costs `price`.
    ///
    /// # Errors
    /// When the models do not fit each other, or a prompt is too long for one.
    pub fn from_rollouts(
        judged: ScoredRollouts,
        models: &PpoModels,
        reference: &GptModern,
        config: &PpoConfig,
        price: f64,
    ) -> Result<Self> {
        let ScoredRollouts { groups, completion_texts: texts, rewards: scores } = judged;
        let (writer, device) = (&models.rollout_policy, models.rollout_policy.device());
        let whole = TokenBatch::from_groups(&groups, writer.config(), device)?;
        let (mask, log_probs_drawn) = (whole.mask.clone(), whole.behavior_log_probs(&groups)?);
        let (mut references, mut values, mut bootstraps) = (Vec::new(), Vec::new(), Vec::new());
        let t = mask.dim(1)?;
        for groups in groups.chunks(config.update.micro_batch_size(groups.len())) {
            let batch = TokenBatch::from_groups(groups, writer.config(), device)?;
            let widened = |x: Tensor| x.pad_with_zeros(1, 0, t - x.dim(1)?);
            let found = models.rollout_critic.values(&batch, || batch.hidden(writer))?;
            values.push(widened(found.token_values)?);
            bootstraps.push(found.bootstrap_values);
            let batch = TokenBatch::from_groups(groups, reference.config(), device)?; // it may have another window
            let said = log_probs(reference, &batch, config.rollout.temperature())?;
            references.push(widened(said)?);
        }
        let reference = Tensor::cat(&references, 0)?; // (R, T)
        let (values, mut bootstrap) = (Tensor::cat(&values, 0)?, Tensor::cat(&bootstraps, 0)?);

        let RewardShapingConfig {
            kl_estimator: kl,
            truncation: cut,
            reward_scaling: scale,
            gae: discount,
            ..
        } = config.reward_shaping;
        if cut == TruncationHandling::Terminal {
            bootstrap = bootstrap.zeros_like()?;
        }
        let paid = scores.iter().zip(groups.iter().flat_map(|group| &group.completions));
        let paid = paid.map(|(&score, response)| {
            config.reward_shaping.terminal_reward(score, response) as f32
        });
        let paid = Tensor::from_iter(paid, device)?; // (R)
        let kl = kl.estimate(&log_probs_drawn, &reference)?;
        let mut rewards = token_rewards(&paid, &kl, price, &mask)?;
        if scale == RewardScaling::Whiten {
            rewards = masked_whiten(&rewards, &mask, ShiftMean::No)?;
        }
        let found = gae(&rewards, &values, &bootstrap, &mask, discount)?;
        let moved = KlEstimator::K1.estimate(&log_probs_drawn, &reference)?;
        let kl_per_token = f64::from(masked_mean(&moved, &mask)?.to_scalar::<f32>()?);
        Ok(Self {
            completion_texts: texts,
            kl: kl_per_token * whole.n_tokens() as f64 / scores.len() as f64,
            kl_per_token,
            groups,
            rewards: scores,
            old_log_probs: log_probs_drawn,
            values,
            advantages: masked_whiten(&found.advantages, &mask, ShiftMean::Yes)?,
            returns: found.returns,
            mask,
        })
    }

    /// How much of the returns' variance the values explain: 1 all of it, 0 none, less than 0 worse than a constant.
    ///
    /// # Errors
    /// When memory is short.
    pub fn explained_variance(&self) -> Result<f64> {
        let variance = |x: &Tensor| -> Result<f64> {
            let centred = x.broadcast_sub(&masked_mean(x, &self.mask)?)?;
            let variance = masked_mean(&centred.sqr()?, &self.mask)?;
            Ok(variance.to_dtype(DType::F64)?.to_scalar()?)
        };
        let left = variance(&(&self.returns - &self.values)?)?;
        Ok(1. - left / variance(&self.returns)?.max(1e-8))
    }

    /// How many tokens the responses of groups `chosen` have.
    pub(crate) fn n_tokens(&self, chosen: &[usize]) -> usize {
        let responses = chosen.iter().flat_map(|&group| &self.groups[group].completions);
        responses.map(|response| response.tokens.len()).sum()
    }

    /// The rows of `x: (R, T)` that belong to groups `chosen`, the longest of which has `t` tokens.
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
