//! A text in the making: the tokens so far, and how far the model has read them.

use anyhow::{Result, anyhow, ensure};
use candle_core::{DType, Device, Tensor};
use tensor_core::{Rng, threads};

use crate::config::PositionEncoding;
use crate::generation::{Completion, FinishReason, GenerateConfig};
use crate::sampler::{SampledToken, Sampler};
use crate::{Cache, GptModern};

/// Texts of one length in the making, and what the model has read of them.
#[derive(Debug)]
pub struct GenerationState {
    /// What the model remembers.
    pub cache: Cache,
    /// All tokens of each row: read, and still to be read.
    pub token_rows: Vec<Vec<u32>>,
    /// How many at the start of each row are none.
    padding: Vec<usize>,
}

impl GenerationState {
    /// One text, not yet read.
    pub fn new(cache: Cache, tokens: Vec<u32>) -> Self {
        Self { cache, token_rows: vec![tokens], padding: vec![0] }
    }

    /// Texts that end, and go on, at the same place: short ones begin with tokens that are none.
    pub(crate) fn left_padded(cache: Cache, texts: Vec<Vec<u32>>) -> Result<Self> {
        let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
        let padding: Vec<usize> = texts.iter().map(|text| longest - text.len()).collect();
        let rows =
            padding.iter().zip(texts).map(|(&n, text)| [vec![0; n], text].concat()).collect();
        let cache = match padding.iter().all(|&n| n == 0) {
            true => cache,
            false => cache.with_padding(padding.clone())?,
        };
        Ok(Self { cache, token_rows: rows, padding })
    }

    /// `n` texts in place of each, all read up to their last token, which was done once for all `n`: the same memory as if each
    /// had been read, for an nth of the work.
    ///
    /// # Errors
    /// When the cache is rolling, and those of reading.
    pub(crate) fn prefill_and_fork(
        mut self,
        model: &GptModern,
        chunk: usize,
        n: usize,
    ) -> Result<Self> {
        let end = self.token_rows[0].len() - 1;
        while self.cache.position() < end {
            let t = (end - self.cache.position()).min(chunk.max(1));
            model.hidden_states_cached(&self.next_input_ids(model, t)?, &mut self.cache)?;
        }
        let cache = self.cache.expand(n)?;
        let rows = self.token_rows.into_iter().flat_map(|row| vec![row; n]).collect();
        let padding = self.padding.into_iter().flat_map(|padding| vec![padding; n]).collect();
        Ok(Self { cache, token_rows: rows, padding })
    }

    /// Turns a single text into `tokens`; what the model has read of their common beginning stays read.
    ///
    /// # Errors
    /// When there are several.
    pub fn replace_keeping_prefix(&mut self, tokens: Vec<u32>) -> Result<()> {
        ensure!(self.token_rows.len() == 1, "only a single text can become another");
        let common = self.token_rows[0].iter().zip(&tokens).take_while(|(a, b)| a == b).count();
        self.cache.truncate(common.min(tokens.len().saturating_sub(1))); // scores come from reading the last
        self.token_rows[0] = tokens;
        Ok(())
    }

    /// Reads what is new, writes on, and appends what it wrote; a row that ends before others is filled with token 0.
    /// Each row has a random stream of its own. An error of `on_token` ends it all.
    ///
    /// # Errors
    /// As [`generate`](fn@crate::generate).
    pub fn generate(
        &mut self,
        model: &GptModern,
        config: &GenerateConfig,
        rngs: &mut [Rng],
        mut on_token: impl FnMut(usize, u32) -> Result<()>,
    ) -> Result<Vec<Completion>> {
        let (len, context) = (self.token_rows[0].len(), model.config().context_len);
        ensure!(len > self.cache.position(), "the prompt is empty: there is nothing to continue");
        let (rows, streams) = (self.token_rows.len(), rngs.len());
        ensure!(rows == streams, "{rows} rows need as many random streams, not {streams}");
        let learned = model.config().attention.position == PositionEncoding::Learned;
        let bounded = self.cache.is_dynamic() || learned;
        ensure!(
            !bounded || len <= context,
            "the prompt has {len} tokens, the model's context is {context}: shorten it, or let it pass through a window"
        );
        let mut seen = self.occurring_tokens(model.config().vocab_size)?;
        let mut written = vec![Completion::default(); self.token_rows.len()];
        let mut logits = self.next_logits(model, config.prefill_chunk)?;
        for step in 0..config.max_new_tokens {
            let going: Vec<bool> =
                written.iter().map(|row| row.finish_reason == FinishReason::Length).collect();
            let drawn = sample_rows(&config.sampler, &logits, &seen, rngs, &going);
            let mut told = Ok(());
            for (row, (continuation, drawn)) in written.iter_mut().zip(drawn).enumerate() {
                let Some(SampledToken { token, log_prob }) = drawn else {
                    self.token_rows[row].push(0); // the row has ended; its place in the batch goes on
                    continue;
                };
                continuation.tokens.push(token);
                continuation.log_probs.push(log_prob);
                seen[row][token as usize] = true;
                self.token_rows[row].push(token);
                match config.stop_tokens.contains(&token) {
                    true => continuation.finish_reason = FinishReason::Stop,
                    false => told = told.and_then(|()| on_token(row, token)),
                }
            }
            told?; // not before all rows are of one length again
            if bounded && self.token_rows[0].len() > context {
                let going =
                    written.iter_mut().filter(|row| row.finish_reason == FinishReason::Length);
                going.for_each(|row| row.finish_reason = FinishReason::ContextFull);
            }
            let ended = written.iter().all(|row| row.finish_reason != FinishReason::Length);
            if ended || step + 1 == config.max_new_tokens {
                break;
            }
            logits = self.next_logits(model, config.prefill_chunk)?;
        }
        Ok(written)
    }

    /// Reads all that was not read, `chunk` tokens at a time; the scores of the next token, row by row: B · V numbers.
    fn next_logits(&mut self, model: &GptModern, chunk: usize) -> Result<Vec<f32>> {
        let end = self.token_rows[0].len();
        loop {
            let at = self.cache.position();
            let t = (end - at).min(chunk.max(1));
            let hidden =
                model.hidden_states_cached(&self.next_input_ids(model, t)?, &mut self.cache)?; // (B, T, C)
            if at + t == end {
                let last = hidden.narrow(1, t - 1, 1)?.squeeze(1)?.contiguous()?; // (B, C)
                let logits = model.logits(&last)?;
                ensure!(
                    !logits.track_op(),
                    "generate with the model's inference twin: this one is in training"
                );
                let logits = logits.to_dtype(DType::F32)?.to_device(&Device::Cpu)?; // waits for the device
                let logits: Vec<f32> = logits.flatten_all()?.to_vec1()?;
                let numbers = !logits.iter().any(|x| x.is_nan() || *x == f32::INFINITY);
                ensure!(numbers, "the model's scores are not numbers: its weights are damaged");
                return Ok(logits);
            }
        }
    }

    /// The next `t` tokens to be read: (B, T).
    fn next_input_ids(&self, model: &GptModern, t: usize) -> candle_core::Result<Tensor> {
        let at = self.cache.position();
        let new = self.token_rows.iter().flat_map(|row| &row[at..at + t]).copied().collect();
        Tensor::from_vec(new, (self.token_rows.len(), t), model.device())
    }

    /// Which tokens occur in each row.
    fn occurring_tokens(&self, v: usize) -> Result<Vec<Vec<bool>>> {
        let mut all = Vec::with_capacity(self.token_rows.len());
        for (row, &padding) in self.token_rows.iter().zip(&self.padding) {
            let mut seen = vec![false; v];
            for &token in &row[padding..] {
                let known = seen.get_mut(token as usize);
                *known
                    .ok_or_else(|| anyhow!("token {token} lies outside the vocabulary of {v}"))? =
                    true;
            }
            all.push(seen);
        }
        Ok(all)
    }
}

/// The next token of each row that is `going`, drawn by its scores in `logits: (B, V)` and its own random stream.
fn sample_rows(
    sampler: &Sampler,
    logits: &[f32],
    seen: &[Vec<bool>],
    rngs: &mut [Rng],
    going: &[bool],
) -> Vec<Option<SampledToken>> {
    let v = logits.len() / rngs.len().max(1);
    let rows = logits.chunks_exact(v).zip(seen).zip(rngs).zip(going);
    let mut rows: Vec<_> = rows.filter(|(_, going)| **going).map(|(row, _)| (row, None)).collect();
    threads::parallel_for_each(&mut rows, |(((scores, seen), rng), drawn)| {
        *drawn = Some(sampler.sample_token(scores, seen, rng));
    });
    let mut drawn = rows.into_iter().map(|(_, drawn)| drawn);
    going.iter().map(|going| if *going { drawn.next().flatten() } else { None }).collect()
}
