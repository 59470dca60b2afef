//! 8.5 Experience: KL, values, rewards and advantages of rollouts, token by token.

use anyhow::Result;
use candle_core::{DType, Tensor};
use model_io::ModelConfig;
use modern::GptModern;
use ranks::Ranks;

use crate::actor_critic::PpoModels;
use crate::config::PpoConfig;
use crate::critic::{CriticValues, values_of_groups};
use crate::gae::{GaeOutput, gae};
use crate::kl::KlEstimator;
use crate::log_probs::ref_log_probs_of_groups;
use crate::masked::{ShiftMean, masked_mean, masked_whiten};
use crate::reward_fn::ScoredRollouts;
use crate::rewards::{RewardScaling, TruncationHandling, terminal_rewards, token_rewards};
use crate::rollout_group::RolloutGroup;
use crate::token_batch::TokenBatch;

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
    /// KL to the reference model in nats per token, k1 estimate.
    pub kl_per_token: f64,
    /// KL to the reference model in nats per completion, k1 estimate, TRL's `objective/kl`.
    pub kl_per_completion: f64,
}

/// Some groups of an experience, whose gradient is computed at once.
pub struct MicroBatch {
    /// Tokens of the prompts and completions.
    pub batch: TokenBatch,
    /// Log-probabilities with which the tokens were sampled: (R, T).
    pub old_log_probs: Tensor,
    /// Whitened advantages: (R, T).
    pub advantages: Tensor,
    /// Critic's value of the rollout before each token: (R, T).
    pub old_values: Tensor,
    /// Returns: (R, T).
    pub returns: Tensor,
}

impl PpoExperience {
    /// Experience with the advantages and returns of the R completions of `rollouts`, the longest
    /// of which has T tokens. `kl_coef` is the weight of the KL to `reference`. Each of the `ranks`
    /// computes the values and log-probabilities of its share of the groups.
    ///
    /// # Errors
    /// When the models do not match, a prompt is too long for one, or another rank has ended.
    pub fn from_rollouts(
        rollouts: ScoredRollouts,
        models: &PpoModels,
        reference: &GptModern,
        config: &PpoConfig,
        kl_coef: f64,
        ranks: &Ranks,
    ) -> Result<Self> {
        let ScoredRollouts { groups, completion_texts, rewards } = rollouts;
        let (policy, temperature) = (&models.rollout_policy, config.rollout.temperature());
        let batch = TokenBatch::from_groups(&groups, policy.config(), policy.device())?;
        let (n_tokens, old_log_probs) = (batch.n_tokens(), batch.behavior_log_probs(&groups)?);
        let mask = batch.mask; // (R, T), as the log-probabilities
        let n_groups = config.update.micro_batch_size(groups.len()); // per forward pass
        // (R, T)
        let ref_log_probs =
            ref_log_probs_of_groups(reference, &groups, temperature, n_groups, ranks)?;
        // (R, T) and (R)
        let CriticValues { token_values: values, bootstrap_values } =
            values_of_groups(&models.rollout_critic, policy, &groups, n_groups, ranks)?;

        let shaping = &config.reward_shaping;
        let terminal = terminal_rewards(&rewards, &groups, shaping, mask.device())?; // (R)
        let kl = shaping.kl_estimator.estimate(&old_log_probs, &ref_log_probs)?; // (R, T)
        let mut token_rewards = token_rewards(&terminal, &kl, kl_coef, &mask)?; // (R, T)
        if shaping.reward_scaling == RewardScaling::Whiten {
            token_rewards = masked_whiten(&token_rewards, &mask, ShiftMean::No)?;
        }
        let bootstrap = match shaping.truncation {
            TruncationHandling::Bootstrap => bootstrap_values,
            TruncationHandling::Terminal => bootstrap_values.zeros_like()?,
        };
        let GaeOutput { advantages, returns } =
            gae(&token_rewards, &values, &bootstrap, &mask, shaping.gae)?; // (R, T) each
        let advantages = masked_whiten(&advantages, &mask, ShiftMean::Yes)?;

        let k1 = KlEstimator::K1.estimate(&old_log_probs, &ref_log_probs)?;
        let kl_per_token = f64::from(masked_mean(&k1, &mask)?.to_scalar::<f32>()?);
        Ok(Self {
            kl_per_completion: kl_per_token * n_tokens as f64 / rewards.len() as f64,
            kl_per_token,
            groups,
            completion_texts,
            rewards,
            mask,
            old_log_probs,
            values,
            advantages,
            returns,
        })
    }

    /// The groups `chosen`, for a model of this configuration.
    ///
    /// # Errors
    /// When memory is short.
    pub fn micro_batch(&self, chosen: &[usize], config: &ModelConfig) -> Result<MicroBatch> {
        let groups = chosen.iter().map(|&group| &self.groups[group]);
        let batch = TokenBatch::from_groups(groups, config, self.mask.device())?;
        let (_r, t) = batch.mask.dims2()?;
        Ok(MicroBatch {
            batch,
            old_log_probs: self.rows_of_groups(&self.old_log_probs, chosen, t)?,
            advantages: self.rows_of_groups(&self.advantages, chosen, t)?,
            old_values: self.rows_of_groups(&self.values, chosen, t)?,
            returns: self.rows_of_groups(&self.returns, chosen, t)?,
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

    /// Mean advantage of the tokens of each completion.
    ///
    /// # Errors
    /// When memory is short.
    pub(crate) fn mean_advantages(&self) -> Result<Vec<f32>> {
        let sums = (&self.advantages * &self.mask)?.sum(1)?; // (R)
        Ok(sums.div(&self.mask.sum(1)?)?.to_vec1()?)
    }

    /// Number of completion tokens of the groups `chosen`.
    pub(crate) fn n_tokens(&self, chosen: &[usize]) -> usize {
        chosen.iter().map(|&group| self.groups[group].n_tokens()).sum()
    }

    /// Rows of `x: (R, T)` that belong to groups `chosen`, the longest of which has `t` tokens.
    fn rows_of_groups(
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
