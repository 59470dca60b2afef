//! 8.3 Rollout: completions sampled from the policy, with all that the update needs.
//!
//! The completions of a prompt share its prefill. Each token keeps the log-probability with which
//! it was sampled, temperature and filters included, because the ratio compares with that
//! distribution.

use anyhow::{Result, ensure};
use candle_core::{DType, Device};
use modern::{
    CacheKind, FinishReason, GenerateConfig, GptModern, Sampler, SamplingStrategy, generate_samples,
};
use tensor_core::Rng;

use crate::rollout_group::{AllowedTokens, RolloutGroup, SampledCompletion};
use crate::token_batch::TokenBatch;

/// Sampling of completions.
#[derive(Debug, Clone)]
pub struct RolloutConfig {
    /// Completions per prompt.
    pub group_size: usize,
    /// Sampler of the tokens.
    pub sampler: Sampler,
    /// Largest number of tokens per completion.
    pub max_new_tokens: usize,
    /// Smallest number of tokens before the stop token.
    pub min_new_tokens: usize,
    /// Tokens that end a completion.
    pub stop_token_ids: Vec<u32>,
    /// Largest number of prompts whose completions are sampled together, which bounds the memory;
    /// the completions are the same.
    pub batch_size: usize,
}

impl RolloutConfig {
    /// Sampling of completions of any length up to `max_new_tokens`, of all prompts together.
    pub fn new(
        group_size: usize,
        sampler: Sampler,
        max_new_tokens: usize,
        stop_token_ids: Vec<u32>,
    ) -> Self {
        Self {
            group_size,
            sampler,
            max_new_tokens,
            min_new_tokens: 0,
            stop_token_ids,
            batch_size: usize::MAX,
        }
    }

    /// Checks that an update can learn from such completions.
    ///
    /// # Errors
    /// When a setting makes that impossible.
    pub fn check(&self) -> Result<()> {
        ensure!(self.group_size > 0, "a prompt needs at least one completion");
        ensure!(self.max_new_tokens > 0, "a completion needs at least one token");
        ensure!(
            self.min_new_tokens <= self.max_new_tokens,
            "--min-new-tokens {} is more than the {} tokens of a completion",
            self.min_new_tokens,
            self.max_new_tokens
        );
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

    /// Tokens that cannot be the token number `at` of a completion.
    pub fn excluded_tokens(&self, at: usize) -> &[u32] {
        if at < self.min_new_tokens { &self.stop_token_ids } else { &[] }
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
    let settings = GenerateConfig {
        sampler: config.sampler,
        max_new_tokens: config.max_new_tokens,
        min_new_tokens: config.min_new_tokens,
        stop_tokens: config.stop_token_ids.clone(),
        cache_kind: CacheKind::of(&model.config().attention),
        prefill_chunk: 512,
        prompt_lookup_num_tokens: None,
    };
    let group_size = config.group_size;
    let mut sampled = Vec::with_capacity(prompts.len() * group_size);
    for prompts in prompts.chunks(config.batch_size.max(1)) {
        let all = generate_samples(model, prompts, group_size, &settings, rng, |_, _| Ok(()))?;
        sampled.extend(all);
    }
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
    if config.has_sampling_filter() || config.min_new_tokens > 0 {
        record_allowed_tokens(model, &mut groups, config)?;
    }
    Ok(groups)
}

/// Records in `groups` the tokens that could be sampled with `config` at each position, from the
/// logits of `model`, which is built for inference.
///
/// # Errors
/// When memory is short.
fn record_allowed_tokens(
    model: &GptModern,
    groups: &mut [RolloutGroup],
    config: &RolloutConfig,
) -> Result<()> {
    for group in groups {
        if !config.has_sampling_filter() {
            for completion in &mut group.completions {
                let positions = 0..completion.tokens.len();
                let excluded = positions.map(|at| config.excluded_tokens(at).to_vec());
                completion.allowed_tokens = excluded.map(AllowedTokens::AllBut).collect();
            }
            continue;
        }
        let batch = TokenBatch::from_groups([&*group], model.config(), model.device())?;
        let hidden = batch.at_predicting_positions(&batch.hidden(model)?)?; // (N, C)
        let mut start = 0;
        for completion in &mut group.completions {
            let n = completion.tokens.len();
            if n == 0 {
                continue;
            }
            let logits = model.logits(&hidden.narrow(0, start, n)?)?; // (T, V)
            let logits = logits.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.to_vec2::<f32>()?;
            start += n;
            let tokens = completion.tokens.iter().enumerate().zip(logits);
            let allowed = tokens.map(|((at, &sampled), mut row)| {
                for &token in config.excluded_tokens(at) {
                    // A stop token may be beyond the vocabulary of the model.
                    if let Some(logit) = row.get_mut(token as usize) {
                        *logit = f32::NEG_INFINITY;
                    }
                }
                let allowed = config.sampler.probabilities(&row, &[]);
                let mut allowed: Vec<u32> = allowed.into_iter().map(|(token, _)| token).collect();
                if !allowed.contains(&sampled) {
                    allowed.push(sampled); // rounding moved it across the filter's threshold
                }
                AllowedTokens::Only(allowed)
            });
            completion.allowed_tokens = allowed.collect();
        }
    }
    Ok(())
}
