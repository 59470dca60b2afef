//! Generation: read the prompts once, then write token by token, reading only what was just written.
//!
//! Prompts of different lengths stand in one batch with padding on their left, so that all of them end, and go on, at the
//! same place; a mask keeps the padding out of sight, and positions count from each row's first real token. Each row has
//! a random stream of its own, so what it writes does not depend on its neighbours. (With quantized weights, batches of
//! more than 16 rows are computed more exactly than smaller ones.)

use anyhow::{Result, ensure};
use tensor_core::Rng;

use crate::sampler::Sampler;
use crate::{Cache, GenerationState, GptModern, SlidingWindow};

/// What to write, and how much.
#[derive(Debug, Clone)]
pub struct GenerateConfig {
    /// How tokens are chosen.
    pub sampler: Sampler,
    /// Most tokens written per row.
    pub max_new_tokens: usize,
    /// A row ends after any of these.
    pub stop_tokens: Vec<u32>,
    /// What the model remembers.
    pub cache_kind: CacheKind,
    /// Tokens of the prompt that are read at a time: bounds the memory that reading takes.
    pub prefill_chunk: usize,
}

/// What a model remembers of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheKind {
    /// All of it, at most its context.
    Full,
    /// A window and the first tokens; text without end.
    SlidingWindow(SlidingWindow),
}

/// What was written after one prompt.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Completion {
    /// The new tokens, the one that ended it included.
    pub tokens: Vec<u32>,
    /// The logarithm of the probability with which each was drawn, as [`Drawn::log_prob`](crate::sampler::Drawn::log_prob).
    pub log_probs: Vec<f32>,
    /// Why it ended.
    pub finish_reason: FinishReason,
}

/// Why a continuation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FinishReason {
    /// As many tokens as were asked for.
    #[default]
    Length,
    /// By one of the tokens that end a text.
    Stop,
    /// At the model's context.
    ContextFull,
}

impl GenerateConfig {
    /// Up to `max_new_tokens`, the model's own window if it has one, else remembering everything.
    pub fn new(model: &GptModern, sampler: Sampler, max_new_tokens: usize, stop: Vec<u32>) -> Self {
        let memory =
            model.config().attention.window.map_or(CacheKind::Full, CacheKind::SlidingWindow);
        Self { sampler, max_new_tokens, stop_tokens: stop, cache_kind: memory, prefill_chunk: 512 }
    }
}

impl CacheKind {
    /// An empty cache for `model`.
    pub fn new_cache(self, model: &GptModern) -> Cache {
        let n_layer = model.config().n_layer;
        match self {
            Self::Full => Cache::dynamic(n_layer),
            Self::SlidingWindow(window) => Cache::rolling(n_layer, window),
        }
    }
}

/// Continues each of `prompts`; `on_token(row, token)` sees each new token but those that end a text, and may
/// end it all with an error.
///
/// `model` must be an inference twin, so that no graph is built.
///
/// # Errors
/// When a prompt is empty, longer than the context, or holds a token that the model does not know, and those of `on_token`.
pub fn generate(
    model: &GptModern,
    prompts: &[Vec<u32>],
    config: &GenerateConfig,
    rng: &mut Rng,
    on_token: impl FnMut(usize, u32) -> Result<()>,
) -> Result<Vec<Completion>> {
    generate_samples(model, prompts, 1, config, rng, on_token)
}

/// Continues each of `prompts` `n` times; row `n * i + j` is continuation j of prompt i, and just what [`generate`] would write
/// if the prompt were given `n` times, but each prompt is read once.
///
/// # Errors
/// As [`generate`].
pub fn generate_samples(
    model: &GptModern,
    prompts: &[Vec<u32>],
    n: usize,
    config: &GenerateConfig,
    rng: &mut Rng,
    mut on_token: impl FnMut(usize, u32) -> Result<()>,
) -> Result<Vec<Completion>> {
    let mut rngs: Vec<Rng> = (0..prompts.len() * n).map(|_| rng.fork()).collect();
    let mut all = vec![Completion::default(); prompts.len() * n];
    let empty = prompts.iter().any(Vec::is_empty);
    ensure!(!empty, "the prompt is empty: there is nothing to continue");
    for batch in batches(prompts, config.cache_kind, model) {
        let mut rows: Vec<usize> = batch.iter().flat_map(|&i| n * i..n * (i + 1)).collect();
        let mut begun = match n > 1 && config.cache_kind == CacheKind::Full {
            false => None,
            true => Some(prefill_and_fork(model, prompts, &batch, n, config)?),
        };
        while !rows.is_empty() {
            let texts = rows
                .iter()
                .map(|&row| [&prompts[row / n][..], &all[row].tokens].concat())
                .collect();
            let left = config.max_new_tokens - all[rows[0]].tokens.len(); // of all rows, as they were written together
            let config = GenerateConfig { max_new_tokens: left, ..config.clone() };
            let mut text = match begun.take() {
                Some(text) => text,
                None => GenerationState::left_padded(config.cache_kind.new_cache(model), texts)?,
            };
            let mut row_rngs: Vec<Rng> = rows.iter().map(|&row| rngs[row].clone()).collect();
            let written =
                text.generate(model, &config, &mut row_rngs, |i, token| on_token(rows[i], token))?;
            for ((&row, written), rng) in rows.iter().zip(written).zip(row_rngs) {
                all[row].tokens.extend(written.tokens);
                all[row].log_probs.extend(written.log_probs);
                (all[row].finish_reason, rngs[row]) = (written.finish_reason, rng);
            }
            // What ended at the context of a longer neighbour goes on without it.
            rows.retain(|&row| {
                let len = prompts[row / n].len() + all[row].tokens.len();
                all[row].finish_reason == FinishReason::ContextFull
                    && len <= model.config().context_len
            });
        }
    }
    Ok(all)
}

/// The prompts of a batch, each read once for `n` continuations.
fn prefill_and_fork(
    model: &GptModern,
    prompts: &[Vec<u32>],
    batch: &[usize],
    n: usize,
    config: &GenerateConfig,
) -> Result<GenerationState> {
    let prompts = batch.iter().map(|&i| prompts[i].clone()).collect();
    let text = GenerationState::left_padded(config.cache_kind.new_cache(model), prompts)?;
    text.prefill_and_fork(model, config.prefill_chunk, n)
}

/// Rows that can stand in one batch: all, or, where sinks must be the first tokens of each, those of one length.
fn batches(prompts: &[Vec<u32>], memory: CacheKind, model: &GptModern) -> Vec<Vec<usize>> {
    let sinks = model.config().attention.window.is_some_and(|window| window.sinks > 0);
    let any_length = memory == CacheKind::Full && !sinks;
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for (row, prompt) in prompts.iter().enumerate() {
        let fits = |batch: &&mut Vec<usize>| any_length || prompts[batch[0]].len() == prompt.len();
        match batches.iter_mut().find(fits) {
            Some(batch) => batch.push(row),
            None => batches.push(vec![row]),
        }
    }
    batches
}
