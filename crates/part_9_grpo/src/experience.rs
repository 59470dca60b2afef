//! 9.5 Experience of a step: completions with rewards and advantages, and micro-batches of them
//! with the log-probabilities that the loss needs.
//!
//! A group's prompt is computed once in the forward and the backward pass, whatever the number of
//! its completions, in a row of part 8's `TokenBatch`. Groups without an included completion are
//! left out, and without a KL term so are groups whose advantages are all 0.

use anyhow::Result;
use candle_core::Tensor;
use modern::GptModern;
use ppo::log_probs::{log_probs, ref_log_probs};
use ppo::{RolloutConfig, RolloutGroup, ScoredRollouts, TokenBatch};

use crate::advantage::advantages;
use crate::config::AdvantageConfig;
use crate::objective::{LossInputs, Objective};

/// Experience of one GRPO step. All vectors but `groups` have one entry per completion, group by
/// group.
#[derive(Debug, Clone)]
pub struct GrpoExperience {
    /// Prompts with their completions.
    pub groups: Vec<RolloutGroup>,
    /// Sampling temperature, at which the loss computes log-probabilities too.
    pub temperature: f64,
    /// Decoded completions.
    pub completion_texts: Vec<String>,
    /// Reward of each completion, overlong penalty included.
    pub rewards: Vec<f32>,
    /// Advantage of each completion.
    pub advantages: Vec<f32>,
    /// Loss weight of each of a completion's tokens; 0 if it is excluded.
    pub weights: Vec<f32>,
}

/// Groups whose gradient is computed together: R completions, the longest of T tokens.
pub struct MicroBatch {
    /// Tokens of the prompts and completions.
    pub batch: TokenBatch,
    /// Inputs of the loss beside the policy's log-probabilities: (R, T) each.
    pub inputs: LossInputs,
    /// Sampling temperature.
    pub temperature: f64,
}

impl GrpoExperience {
    /// Experience from `rollouts` that were sampled with `config`. `moving_average` is the mean of
    /// the rewards of all earlier steps.
    ///
    /// # Errors
    /// When a reward is not finite, or a group has too few completions for the baseline.
    pub fn from_rollouts(
        rollouts: ScoredRollouts,
        config: &RolloutConfig,
        advantage_config: &AdvantageConfig,
        moving_average: f64,
    ) -> Result<Self> {
        let ScoredRollouts { groups, completion_texts, rewards } = rollouts;
        let AdvantageConfig { overlong, baseline, advantage_epsilon, loss_aggregation } =
            *advantage_config;
        let (group_size, max_new_tokens) = (config.group_size, config.max_new_tokens);
        let (mut lengths, mut included) = (Vec::new(), Vec::new());
        for completion in groups.iter().flat_map(|group| &group.completions) {
            lengths.push(completion.tokens.len());
            included.push(overlong.includes(completion));
        }
        let penalties = lengths.iter().map(|&length| overlong.penalty(length, max_new_tokens));
        let rewards: Vec<f32> =
            rewards.iter().zip(penalties).map(|(&r, penalty)| r as f32 - penalty).collect();
        let advantages =
            advantages(&rewards, group_size, baseline, advantage_epsilon, moving_average)?;
        let weights = loss_aggregation.weights(&lengths, &included, max_new_tokens);
        let temperature = config.temperature();
        Ok(Self { groups, temperature, completion_texts, rewards, advantages, weights })
    }

    /// Groups from which `objective` learns. Those of similar length are neighbours: together they
    /// need less padding.
    pub fn learned_groups(&self, objective: &Objective) -> Vec<usize> {
        let mut chosen: Vec<usize> = (0..self.groups.len())
            .filter(|&group| self.is_included(group))
            .filter(|&group| objective.kl.is_some() || self.has_nonzero_advantage(group))
            .collect();
        chosen
            .sort_by_key(|&group| self.groups[group].prompt.len() + self.groups[group].n_tokens());
        chosen
    }

    /// Micro-batches of all [`learned_groups`](Self::learned_groups), `groups_each` groups each.
    ///
    /// # Errors
    /// When memory is short.
    pub fn micro_batches(
        &self,
        objective: &Objective,
        rollout_model: &GptModern,
        reference: Option<&GptModern>,
        groups_each: usize,
    ) -> Result<Vec<MicroBatch>> {
        let chosen = self.learned_groups(objective);
        self.micro_batches_of(&chosen, objective, rollout_model, reference, groups_each)
    }

    /// Micro-batches of the groups `chosen`, `groups_each` groups each, with the log-probabilities
    /// that `objective` needs under `rollout_model` and `reference`.
    ///
    /// # Errors
    /// When memory is short.
    pub fn micro_batches_of(
        &self,
        chosen: &[usize],
        objective: &Objective,
        rollout_model: &GptModern,
        reference: Option<&GptModern>,
        groups_each: usize,
    ) -> Result<Vec<MicroBatch>> {
        let chunks = chosen.chunks(groups_each.max(1));
        chunks.map(|chosen| self.micro_batch(chosen, objective, rollout_model, reference)).collect()
    }

    /// Micro-batch of the groups `chosen`.
    fn micro_batch(
        &self,
        chosen: &[usize],
        objective: &Objective,
        rollout_model: &GptModern,
        reference: Option<&GptModern>,
    ) -> Result<MicroBatch> {
        let (config, device) = (rollout_model.config(), rollout_model.device());
        let (groups, temperature) =
            (chosen.iter().map(|&group| &self.groups[group]), self.temperature);
        let batch = TokenBatch::from_groups(groups.clone(), config, device)?;
        let mut inputs = LossInputs {
            behavior_log_probs: batch.behavior_log_probs(groups)?,
            old_log_probs: None,
            ref_log_probs: None,
            advantages: self.per_token(&self.advantages, chosen, &batch)?,
            weights: self.per_token(&self.weights, chosen, &batch)?,
        };
        if objective.importance_sampling_cap.is_some() {
            inputs.old_log_probs = Some(log_probs(rollout_model, &batch, temperature)?);
        }
        if let (Some(_), Some(reference)) = (objective.kl, reference) {
            inputs.ref_log_probs = Some(ref_log_probs(reference, &batch, temperature)?);
        }
        Ok(MicroBatch { batch, inputs, temperature })
    }

    /// Value of each completion of the groups `chosen` at each of its tokens: (R, T), 0 at padding.
    fn per_token(&self, values: &[f32], chosen: &[usize], batch: &TokenBatch) -> Result<Tensor> {
        let group_size = self.group_size();
        let rows = chosen.iter().flat_map(|&group| &values[group * group_size..][..group_size]);
        let rows = Tensor::from_iter(rows.copied(), batch.mask.device())?.unsqueeze(1)?; // (R, 1)
        Ok(rows.broadcast_mul(&batch.mask)?) // (R, T)
    }

    /// True if an included completion of group `group` has an advantage other than 0.
    pub fn has_nonzero_advantage(&self, group: usize) -> bool {
        self.advantages_and_weights(group).any(|(advantage, weight)| advantage * weight != 0.)
    }

    /// True if group `group` has an included completion.
    pub fn is_included(&self, group: usize) -> bool {
        self.advantages_and_weights(group).any(|(_, weight)| weight != 0.)
    }

    /// Advantage and weight of each completion of group `group`.
    fn advantages_and_weights(&self, group: usize) -> impl Iterator<Item = (f32, f32)> {
        let all = self.advantages.iter().copied().zip(self.weights.iter().copied());
        all.skip(group * self.group_size()).take(self.group_size())
    }

    fn group_size(&self) -> usize {
        self.rewards.len() / self.groups.len().max(1)
    }

    /// Number of sampled tokens.
    pub fn n_tokens(&self) -> usize {
        self.groups.iter().map(RolloutGroup::n_tokens).sum()
    }
}
