//! Generation: read the prompts once, then write token by token, reading only what was just written.
//!
//! Prompts of different lengths stand in one batch with padding on their left, so that all of them end, and go on, at the
//! same place; a mask keeps the padding out of sight, and positions count from each row's first real token. Each row has
//! a random stream of its own, so what it writes does not depend on its neighbours.

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use tensor_core::Rng;

use crate::sampler::{Drawn, Sampler};
use crate::{Cache, GptModern, Window};

/// What to write, and how much.
#[derive(Debug, Clone)]
pub struct GenerateConfig {
    /// How tokens are chosen.
    pub sampler: Sampler,
    /// Most tokens written per row.
    pub max_new_tokens: usize,
    /// A row ends after any of these.
    pub stop: Vec<u32>,
    /// What the model remembers.
    pub memory: Memory,
    /// Tokens of the prompt that are read at a time: bounds the memory that reading takes.
    pub prefill_chunk: usize,
}

/// What a model remembers of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// All of it, at most its context.
    Whole,
    /// A window and the first tokens; text without end.
    Rolling(Window),
}

/// What was written after one prompt.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Continuation {
    /// The new tokens, the one that ended it included.
    pub tokens: Vec<u32>,
    /// The logarithm of the probability with which each was drawn, as [`Drawn::log_prob`].
    pub log_probs: Vec<f32>,
    /// Why it ended.
    pub end: End,
}

/// Why a continuation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum End {
    /// As many tokens as were asked for.
    #[default]
    Length,
    /// By one of the tokens that end a text.
    Stop,
    /// At the model's context.
    Context,
}

impl GenerateConfig {
    /// Up to `max_new_tokens`, the model's own window if it has one, else remembering everything.
    pub fn new(model: &GptModern, sampler: Sampler, max_new_tokens: usize, stop: Vec<u32>) -> Self {
        let memory = model.config().attention.window.map_or(Memory::Whole, Memory::Rolling);
        Self { sampler, max_new_tokens, stop, memory, prefill_chunk: 512 }
    }
}

impl Memory {
    /// An empty cache for `model`.
    pub fn cache(self, model: &GptModern) -> Cache {
        let n_layer = model.config().n_layer;
        match self {
            Self::Whole => Cache::growing(n_layer),
            Self::Rolling(window) => Cache::rolling(n_layer, window),
        }
    }
}

/// Continues each of `prompts`; `on_token(row, token)` sees each new token but those that end a text.
///
/// `model` must be an inference twin, so that no graph is built.
///
/// # Errors
/// When a prompt is empty, longer than the context, or holds a token that the model does not know.
pub fn generate(
    model: &GptModern,
    prompts: &[Vec<u32>],
    config: &GenerateConfig,
    rng: &mut Rng,
    mut on_token: impl FnMut(usize, u32),
) -> Result<Vec<Continuation>> {
    let mut rngs: Vec<Rng> = prompts.iter().map(|_| rng.fork()).collect();
    let mut all = vec![Continuation::default(); prompts.len()];
    for rows in batches(prompts, config.memory) {
        let longest = rows.iter().map(|&row| prompts[row].len()).max().unwrap_or(0);
        let padding: Vec<usize> = rows.iter().map(|&row| longest - prompts[row].len()).collect();
        let padded =
            rows.iter().zip(&padding).map(|(&row, &n)| [vec![0; n], prompts[row].clone()].concat());
        let mut text = Text {
            cache: config.memory.cache(model),
            rows: padded.collect(),
            padding: padding.clone(),
        };
        if padding.iter().any(|&n| n > 0) {
            text.cache = text.cache.with_padding(padding)?;
        }
        let mut row_rngs: Vec<Rng> = rows.iter().map(|&row| rngs[row].clone()).collect();
        let written =
            text.go_on(model, config, &mut row_rngs, |i, token| on_token(rows[i], token))?;
        for ((row, continuation), rng) in rows.into_iter().zip(written).zip(row_rngs) {
            (all[row], rngs[row]) = (continuation, rng);
        }
    }
    Ok(all)
}

/// Rows that can stand in one batch: all, or, where sinks must be the first tokens of each, those of one length.
fn batches(prompts: &[Vec<u32>], memory: Memory) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for (row, prompt) in prompts.iter().enumerate() {
        let fits = |batch: &&mut Vec<usize>| {
            memory == Memory::Whole || prompts[batch[0]].len() == prompt.len()
        };
        match batches.iter_mut().find(fits) {
            Some(batch) => batch.push(row),
            None => batches.push(vec![row]),
        }
    }
    batches
}

/// Texts of one length in the making, and what the model has read of them.
#[derive(Debug, Clone)]
pub struct Text {
    /// What the model remembers.
    pub cache: Cache,
    /// All tokens of each row: read, and still to be read.
    pub rows: Vec<Vec<u32>>,
    /// How many at the start of each row are none.
    padding: Vec<usize>,
}

impl Text {
    /// One text, not yet read.
    pub fn new(cache: Cache, tokens: Vec<u32>) -> Self {
        Self { cache, rows: vec![tokens], padding: vec![0] }
    }

    /// Reads what is new, writes on, and appends what it wrote. A chat calls this once per turn.
    ///
    /// # Errors
    /// As [`generate`].
    pub fn go_on(
        &mut self,
        model: &GptModern,
        config: &GenerateConfig,
        rngs: &mut [Rng],
        mut on_token: impl FnMut(usize, u32),
    ) -> Result<Vec<Continuation>> {
        let (len, context) = (self.rows[0].len(), model.config().context);
        ensure!(len > self.cache.seen(), "the prompt is empty: there is nothing to continue");
        let growing = self.cache.is_growing();
        ensure!(
            !growing || len <= context,
            "the prompt has {len} tokens, the model's context is {context}: shorten it, or let it pass through a window"
        );
        let mut seen = self.occurred(model.config().vocab_size)?;
        let mut written = vec![Continuation::default(); self.rows.len()];
        let mut logits = self.read(model, config.prefill_chunk)?;
        for step in 0..config.max_new_tokens {
            let v = model.config().vocab_size;
            for (row, continuation) in written.iter_mut().enumerate() {
                if continuation.end != End::Length {
                    self.rows[row].push(0); // the row has ended; its place in the batch goes on
                    continue;
                }
                let scores = &logits[row * v..][..v];
                let Drawn { token, log_prob } =
                    config.sampler.draw(scores, &seen[row], &mut rngs[row]);
                continuation.tokens.push(token);
                continuation.log_probs.push(log_prob);
                seen[row][token as usize] = true;
                self.rows[row].push(token);
                match config.stop.contains(&token) {
                    true => continuation.end = End::Stop,
                    false => on_token(row, token),
                }
            }
            let at_context = growing && self.rows[0].len() > context;
            let going = written.iter_mut().filter(|row| row.end == End::Length);
            let going = going
                .map(|row| {
                    if at_context {
                        row.end = End::Context
                    }
                })
                .count();
            if going == 0 || at_context || step + 1 == config.max_new_tokens {
                break;
            }
            logits = self.read(model, config.prefill_chunk)?;
        }
        Ok(written)
    }

    /// Reads all that was not read, `chunk` tokens at a time; the scores of the next token, row by row: B · V numbers.
    fn read(&mut self, model: &GptModern, chunk: usize) -> Result<Vec<f32>> {
        let end = self.rows[0].len();
        loop {
            let at = self.cache.seen();
            let t = (end - at).min(chunk.max(1));
            let new: Vec<u32> =
                self.rows.iter().flat_map(|row| &row[at..at + t]).copied().collect();
            let ids = Tensor::from_vec(new, (self.rows.len(), t), model.device())?;
            let hidden = model.read(&ids, &mut self.cache)?; // (B, T, C)
            if at + t == end {
                let last = hidden.narrow(1, t - 1, 1)?.squeeze(1)?.contiguous()?; // (B, C)
                let logits = model.logits(&last)?;
                ensure!(
                    !logits.track_op(),
                    "generate with the model's inference twin: this one is in training"
                );
                let logits = logits.to_dtype(DType::F32)?.to_device(&Device::Cpu)?; // waits for the device
                return Ok(logits.flatten_all()?.to_vec1()?);
            }
        }
    }

    /// Which tokens occur in each row.
    fn occurred(&self, v: usize) -> Result<Vec<Vec<bool>>> {
        let mut all = Vec::with_capacity(self.rows.len());
        for (row, &padding) in self.rows.iter().zip(&self.padding) {
            let mut seen = vec![false; v];
            for &token in &row[padding..] {
                let known = seen.get_mut(token as usize);
                *known.ok_or_else(|| {
                    anyhow::anyhow!("token {token} lies outside the vocabulary of {v}")
                })? = true;
            }
            all.push(seen);
        }
        Ok(all)
    }
}
