//! 8.2 The rollout: the policy answers, and all is recorded that learning from it will need.
//!
//! Each prompt gets several responses, which share what was computed of it. Of every token is kept with which probability it was
//! drawn: temperature and filters included, as it is that distribution which the ratio compares with. A response is as long as it is;
//! nothing is inferred from what its tokens are, so a model whose end is also its padding is no exception.

use anyhow::{Result, ensure};
use modern::{
    CacheKind, FinishReason, GenerateConfig, GptModern, Sampler, SamplingStrategy, generate_samples,
};
use tensor_core::Rng;

/// How responses are written.
#[derive(Debug, Clone)]
pub struct RolloutConfig {
    /// Responses to each prompt.
    pub group_size: usize,
    /// How tokens are drawn.
    pub sampler: Sampler,
    /// Longest response, in tokens.
    pub max_new_tokens: usize,
    /// Any of these ends a response.
    pub stop_token_ids: Vec<u32>,
}

/// A prompt and the responses to it.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutGroup {
    /// What was asked.
    pub prompt: Vec<u32>,
    /// What was answered, each at its own chance.
    pub completions: Vec<SampledCompletion>,
}

/// A response as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct SampledCompletion {
    /// Its tokens, the end included where it ended itself. At least one.
    pub tokens: Vec<u32>,
    /// The logarithm of the probability with which each was drawn.
    pub log_probs: Vec<f32>,
    /// Among which tokens each was drawn; empty where no filter kept any out.
    pub allowed_tokens: Vec<Vec<u32>>,
    /// Why it ended.
    pub finish_reason: FinishReason,
}

impl SampledCompletion {
    /// Whether it ended itself, and was not cut off.
    pub fn terminated(&self) -> bool {
        self.finish_reason == FinishReason::Stop
    }
}

impl RolloutConfig {
    /// # Errors
    /// When nothing would be learned from what is written so.
    pub fn check(&self) -> Result<()> {
        ensure!(self.group_size > 0, "a prompt needs at least one response");
        ensure!(self.max_new_tokens > 0, "a response needs at least one token");
        ensure!(!self.stop_token_ids.is_empty(), "no token ends a response");
        ensure!(
            self.sampler.strategy != SamplingStrategy::Greedy,
            "responses are drawn at a temperature above 0: greedy ones are all alike, and nothing is learned from them"
        );
        ensure!(
            self.sampler.repetition_penalty == 1.,
            "responses are drawn without a repetition penalty: their probability would depend on more than the model"
        );
        Ok(())
    }

    /// T
    pub fn temperature(&self) -> f64 {
        match self.sampler.strategy {
            SamplingStrategy::Greedy => 1.,
            SamplingStrategy::Random { temperature, .. } => temperature,
        }
    }

    /// Whether some tokens cannot be drawn.
    pub fn has_sampling_filter(&self) -> bool {
        match self.sampler.strategy {
            SamplingStrategy::Greedy => true,
            SamplingStrategy::Random { top_k, top_p, min_p, .. } => {
                top_k.is_some() || top_p.is_some_and(|p| p < 1.) || min_p.is_some()
            }
        }
    }
}

/// Lets `model`, an inference twin, answer `prompts`.
///
/// # Errors
/// When a prompt leaves no room in the context, or `config` is none to learn with.
pub fn rollout(
    model: &GptModern,
    prompts: &[Vec<u32>],
    config: &RolloutConfig,
    rng: &mut Rng,
) -> Result<Vec<RolloutGroup>> {
    config.check()?;
    let context = model.config().context_len;
    if let Some(prompt) = prompts.iter().find(|prompt| prompt.len() >= context) {
        let len = prompt.len();
        anyhow::bail!(
            "a prompt of {len} tokens leaves no room in the model's context of {context}"
        );
    }
    let RolloutConfig { group_size: samples, sampler, max_new_tokens, stop_token_ids: ref stop } =
        *config;
    let memory = model.config().attention.window.map_or(CacheKind::Full, CacheKind::SlidingWindow);
    let settings = GenerateConfig {
        sampler,
        max_new_tokens,
        stop_tokens: stop.clone(),
        cache_kind: memory,
        prefill_chunk: 512,
    };
    let written = generate_samples(model, prompts, samples, &settings, rng, |_, _| Ok(()))?;
    let mut written = written.into_iter();
    let group = |prompt: &Vec<u32>| {
        let responses = written.by_ref().take(samples).map(|written| {
            let room = context - prompt.len(); // the last token of a text past its context was never read
            let (mut tokens, mut log_probs) = (written.tokens, written.log_probs);
            let end =
                if tokens.len() > room { FinishReason::ContextFull } else { written.finish_reason };
            tokens.truncate(room);
            log_probs.truncate(room);
            SampledCompletion { tokens, log_probs, allowed_tokens: Vec::new(), finish_reason: end }
        });
        RolloutGroup { prompt: prompt.clone(), completions: responses.collect() }
    };
    let mut groups: Vec<RolloutGroup> = prompts.iter().map(group).collect();
    if config.has_sampling_filter() {
        crate::log_probs::record_allowed_tokens(model, &mut groups, &sampler)?;
    }
    Ok(groups)
}
