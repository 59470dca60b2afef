//! Batched generation: prefill the prompts once, then decode token by token with a KV cache.
//!
//! Prompts of different lengths are left-padded, so that all rows decode at the same position. A
//! mask hides the padding, and positions count from each row's first token. Each row has its own
//! random generator, so its completion does not depend on the other rows. (With quantized weights,
//! batches of more than 16 rows are computed more exactly than smaller ones.)

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use tensor_core::Rng;

use crate::completion::{Completion, FinishReason};
use crate::generate_config::{CacheKind, GenerateConfig};
use crate::generation_state::GenerationState;
use crate::model::GptModern;
use crate::sampler::Sampler;

/// Completes each of `prompts`. `on_token(row, token)` is called for each new token except stop
/// tokens; an error from it ends the generation.
///
/// `model` must be an inference copy, so that no autograd graph is built.
///
/// # Errors
/// When a prompt is empty, longer than the context, or has a token outside the vocabulary, when
/// prompt lookup is given several prompts or a rolling cache, and those of `on_token`.
pub fn generate(
    model: &GptModern,
    prompts: &[Vec<u32>],
    config: &GenerateConfig,
    rng: &mut Rng,
    on_token: impl FnMut(usize, u32) -> Result<()>,
) -> Result<Vec<Completion>> {
    generate_samples(model, prompts, 1, config, rng, on_token)
}

/// Samples `n` completions of each of `prompts`; row `n * i + j` is completion j of prompt i. The
/// result equals that of [`generate`] with every prompt given `n` times, but each prompt is
/// prefilled once.
///
/// # Errors
/// Those of [`generate`].
pub fn generate_samples(
    model: &GptModern,
    prompts: &[Vec<u32>],
    n: usize,
    config: &GenerateConfig,
    rng: &mut Rng,
    mut on_token: impl FnMut(usize, u32) -> Result<()>,
) -> Result<Vec<Completion>> {
    let mut rngs: Vec<Rng> = (0..prompts.len() * n).map(|_| rng.fork()).collect();
    let mut completions = vec![Completion::default(); prompts.len() * n];
    let empty = prompts.iter().any(Vec::is_empty);
    ensure!(!empty, "the prompt is empty: there is nothing to continue");
    // Several rows are padded and share a prefill, for which all layers keep all tokens.
    let cache_kind = match config.cache_kind {
        CacheKind::PerLayer if completions.len() > 1 => CacheKind::Full,
        cache_kind => cache_kind,
    };
    for batch in batches(prompts, cache_kind, model) {
        let mut rows: Vec<usize> = batch.iter().flat_map(|&i| n * i..n * (i + 1)).collect();
        let mut state = match n > 1 && cache_kind == CacheKind::Full {
            true => prefill_and_fork(model, prompts, &batch, n, config.prefill_chunk)?,
            false => unprocessed(model, prompts, &completions, &rows, cache_kind)?,
        };
        while !rows.is_empty() {
            // All remaining rows have generated equally many tokens, because they decode together.
            let n_generated = completions[rows[0]].tokens.len();
            let remaining = GenerateConfig {
                max_new_tokens: config.max_new_tokens - n_generated,
                min_new_tokens: config.min_new_tokens.saturating_sub(n_generated),
                ..config.clone()
            };
            let mut row_rngs: Vec<Rng> = rows.iter().map(|&row| rngs[row].clone()).collect();
            let generated = state
                .generate(model, &remaining, &mut row_rngs, |i, token| on_token(rows[i], token))?;
            for ((&row, generated), rng) in rows.iter().zip(generated).zip(row_rngs) {
                completions[row].tokens.extend(generated.tokens);
                completions[row].log_probs.extend(generated.log_probs);
                completions[row].n_accepted += generated.n_accepted;
                (completions[row].finish_reason, rngs[row]) = (generated.finish_reason, rng);
            }
            // A row that stopped because a longer row filled the context continues without that
            // row.
            rows.retain(|&row| {
                let len = prompts[row / n].len() + completions[row].tokens.len();
                completions[row].finish_reason == FinishReason::ContextFull
                    && len <= model.config().context_len
            });
            state = unprocessed(model, prompts, &completions, &rows, cache_kind)?;
        }
    }
    Ok(completions)
}

/// State of `rows`, the prompts with their completions so far, nothing of which is processed yet.
fn unprocessed(
    model: &GptModern,
    prompts: &[Vec<u32>],
    completions: &[Completion],
    rows: &[usize],
    cache_kind: CacheKind,
) -> Result<GenerationState> {
    let n = completions.len() / prompts.len();
    let text = |&row: &usize| [&prompts[row / n][..], &completions[row].tokens].concat();
    GenerationState::left_padded(cache_kind.new_cache(model), rows.iter().map(text).collect())
}

/// Prefills each prompt of a batch once, in chunks of `chunk` tokens, and expands the state to `n`
/// rows per prompt.
fn prefill_and_fork(
    model: &GptModern,
    prompts: &[Vec<u32>],
    batch: &[usize],
    n: usize,
    chunk: usize,
) -> Result<GenerationState> {
    let prompts = batch.iter().map(|&i| prompts[i].clone()).collect();
    let state = GenerationState::left_padded(CacheKind::Full.new_cache(model), prompts)?;
    state.prefill_and_fork(model, chunk, n)
}

/// Groups the prompts into batches: all in one, or one batch per length if the cache does not allow
/// padding (a cache that is rolling in some layers, or sinks, which must be the first tokens of
/// each row).
fn batches(prompts: &[Vec<u32>], cache_kind: CacheKind, model: &GptModern) -> Vec<Vec<usize>> {
    let window = model.config().attention.sliding_window();
    let sinks = window.is_some_and(|window| window.sinks > 0);
    let any_length = cache_kind == CacheKind::Full && !sinks;
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

/// Generates `n` tokens after `prompt` without a KV cache: the whole text is processed again for
/// every token. Reference for the cache's speed and correctness: the result is that of [`generate`]
/// for a single prompt and random stream.
///
/// # Errors
/// When the prompt is empty or the text exceeds the context length.
pub fn generate_uncached(
    model: &GptModern,
    prompt: &[u32],
    n: usize,
    sampler: &Sampler,
    rng: &mut Rng,
) -> Result<Vec<u32>> {
    ensure!(!prompt.is_empty(), "the prompt is empty: there is nothing to continue");
    let (context_len, v) = (model.config().context_len, model.config().vocab_size);
    let end = prompt.len() + n.saturating_sub(1); // the last token is not an input
    ensure!(end <= context_len, "{end} tokens exceed the model's context of {context_len}");
    let mut tokens = prompt.to_vec();
    let mut seen = vec![false; v];
    for _ in 0..n {
        let ids = Tensor::new(&tokens[..], model.device())?.unsqueeze(0)?; // (1, T)
        let hidden = model.hidden_states(&ids)?; // (1, T, C)
        let hidden = hidden.narrow(1, tokens.len() - 1, 1)?.contiguous()?; // (1, 1, C)
        let logits = model.logits(&hidden)?.flatten_all()?.to_dtype(DType::F32)?;
        let logits = logits.to_device(&Device::Cpu)?.to_vec1::<f32>()?; // (V)
        tokens.iter().for_each(|&token| seen[token as usize] = true);
        tokens.push(sampler.sample_token(&logits, &seen, rng).token);
    }
    Ok(tokens.split_off(prompt.len()))
}
