//! 8.3 Rollout: completions sampled from the policy, with all that the update needs.
//!
//! The completions of a prompt share its prefill. Each token keeps the log-probability with which
//! it was sampled, temperature and filters included, because the ratio compares with that
//! distribution.

use anyhow::{Result, ensure};
use modern::{
    CacheKind, FinishReason, GenerateConfig, GptModern, Sampler, SamplingStrategy, generate_samples,
};
use tensor_core::Rng;

use crate::log_probs::record_allowed_tokens;
use crate::rollout_group::{RolloutGroup, SampledCompletion};

/// Sampling of completions.
#[derive(Debug, Clone)]
pub struct RolloutConfig {
    /// Completions per prompt.
    pub group_size: usize,
    /// Sampler of the tokens.
    pub sampler: Sampler,
    /// Largest number of tokens per completion.
    pub max_new_tokens: usize,
    /// Tokens that end a completion.
    pub stop_token_ids: Vec<u32>,
}

impl RolloutConfig {
    /// Checks that an update can learn from such completions.
    ///
    /// # Errors
    /// When a setting makes that impossible.
    pub fn check(&self) -> Result<()> {
        ensure!(self.group_size > 0, "a prompt needs at least one completion");
        ensure!(self.max_new_tokens > 0, "a completion needs at least one token");
        ensure!(!self.stop_token_ids.is_empty(), "no stop token is set");
        ensure!(
            self.sampler.strategy != SamplingStrategy::Greedy,
            "completions are sampled at a temperature above 0: greedy ones are all alike, and \
             nothing is learned from them"
        );
        ensure!(
            self.sampler.repetition_penalty == 1.,
            "completions are sampled without a repetition penalty: with one, their probability \
             would depend on more than the model"
        );
        Ok(())
    }

    /// Sampling temperature.
    pub fn temperature(&self) -> f64 {
        match self.sampler.strategy {
            SamplingStrategy::Greedy => 1.,
            SamplingStrategy::Random { temperature, .. } => temperature,
        }
    }

    /// Whether a filter excludes some tokens.
    pub fn has_sampling_filter(&self) -> bool {
        match self.sampler.strategy {
            SamplingStrategy::Greedy => true,
            SamplingStrategy::Random { top_k, top_p, min_p, .. } => {
                top_k.is_some() || top_p.is_some_and(|p| p < 1.) || min_p.is_some()
            }
        }
    }
}

/// Samples a group of completions for each of `prompts` from `model`, which is built for inference.
///
/// # Errors
/// When a prompt fills the context, or `config` fails [`RolloutConfig::check`].
pub fn rollout(
    model: &GptModern,
    prompts: &[Vec<u32>],
    config: &RolloutConfig,
    rng: &mut Rng,
) -> Result<Vec<RolloutGroup>> {
    config.check()?;
    let context_len = model.config().context_len;
    if let Some(prompt) = prompts.iter().find(|prompt| prompt.len() >= context_len) {
        let len = prompt.len();
        anyhow::bail!(
            "a prompt of {len} tokens leaves no room in the model's context of {context_len}"
        );
    }
    let RolloutConfig { group_size, sampler, max_new_tokens, ref stop_token_ids } = *config;
    let cache_kind =
        model.config().attention.window.map_or(CacheKind::Full, CacheKind::SlidingWindow);
    let settings = GenerateConfig {
        sampler,
        max_new_tokens,
        stop_tokens: stop_token_ids.clone(),
        cache_kind,
        prefill_chunk: 512,
    };
    let sampled = generate_samples(model, prompts, group_size, &settings, rng, |_, _| Ok(()))?;
    let mut sampled = sampled.into_iter();
    let group = |prompt: &Vec<u32>| {
        let completions = sampled.by_ref().take(group_size).map(|completion| {
            // A token sampled at the end of the context cannot be read back by the update.
            let room = context_len - prompt.len();
            let (mut tokens, mut log_probs) = (completion.tokens, completion.log_probs);
            let full = tokens.len() > room;
            let finish_reason =
                if full { FinishReason::ContextFull } else { completion.finish_reason };
            tokens.truncate(room);
            log_probs.truncate(room);
            SampledCompletion { tokens, log_probs, allowed_tokens: Vec::new(), finish_reason }
        });
        RolloutGroup { prompt: prompt.clone(), completions: completions.collect() }
    };
    let mut groups: Vec<RolloutGroup> = prompts.iter().map(group).collect();
    if config.has_sampling_filter() {
        record_allowed_tokens(model, &mut groups, &sampler)?;
    }
    Ok(groups)
}
