//! State of a generation: the token rows so far, and the KV cache of those already processed. The
//! decoding loop appends to it and returns the completions.

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use tensor_core::Rng;

use crate::completion::{Completion, FinishReason, Row, forbid, push_sampled, sample_rows};
use crate::generate_config::GenerateConfig;
use crate::prompt_lookup::{PromptLookup, max_proposed_tokens};
use crate::prompt_too_long::PromptTooLong;
use crate::sampler::Sampler;
use crate::{Cache, GptModern};

/// Batch of token rows of equal length, with the KV cache of their processed part.
#[derive(Debug)]
pub struct GenerationState {
    /// KV cache of the tokens processed so far.
    pub cache: Cache,
    /// All tokens of each row, processed or not, with the padding.
    pub token_rows: Vec<Vec<u32>>,
    /// Padding tokens at the start of each row.
    padding: Vec<usize>,
}

impl GenerationState {
    /// State of a single row, nothing of which is processed yet.
    pub fn new(cache: Cache, tokens: Vec<u32>) -> Self {
        Self { cache, token_rows: vec![tokens], padding: vec![0] }
    }

    /// State of several texts, left-padded to the longest, so that all rows decode at the same
    /// position.
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

    /// Prefills each row up to its last token, then repeats it `n` times: 1/n of the work of
    /// prefilling `n` copies, with the same memory.
    ///
    /// # Errors
    /// When the cache is rolling in some layers, and those of the model.
    pub(crate) fn prefill_and_fork(
        mut self,
        model: &GptModern,
        chunk: usize,
        n: usize,
    ) -> Result<Self> {
        let end = self.token_rows[0].len() - 1;
        let chunk = self.prefill_chunk(model, end, chunk);
        while self.cache.position() < end {
            let t = (end - self.cache.position()).min(chunk);
            model.hidden_states_cached(&self.next_input_ids(model, t)?, &mut self.cache)?;
        }
        let cache = self.cache.repeat_interleave(n)?;
        let rows = self.token_rows.into_iter().flat_map(|row| vec![row; n]).collect();
        let padding = self.padding.into_iter().flat_map(|padding| vec![padding; n]).collect();
        Ok(Self { cache, token_rows: rows, padding })
    }

    /// Replaces the tokens of a single row by `tokens`, keeping the cache of the common prefix.
    ///
    /// # Errors
    /// When there are several rows.
    pub fn replace_keeping_prefix(&mut self, tokens: Vec<u32>) -> Result<()> {
        ensure!(
            self.token_rows.len() == 1,
            "the tokens of a batch of several rows cannot be replaced"
        );
        let common = self.token_rows[0].iter().zip(&tokens).take_while(|(a, b)| a == b).count();
        // The last token must be processed again: its logits are those of the next token.
        self.cache.truncate(common.min(tokens.len().saturating_sub(1)));
        self.token_rows[0] = tokens;
        Ok(())
    }

    /// Prefills the new tokens, then generates and appends completions. Each row has its own random
    /// generator. An error from `on_token` ends the generation. Of several rows, those that have
    /// ended leave the batch from time to time, and the state keeps the others.
    ///
    /// # Errors
    /// Those of [`generate`](fn@crate::generate).
    pub fn generate(
        &mut self,
        model: &GptModern,
        config: &GenerateConfig,
        rngs: &mut [Rng],
        on_token: impl FnMut(usize, u32) -> Result<()>,
    ) -> Result<Vec<Completion>> {
        let Some(num_tokens) = config.prompt_lookup_num_tokens else {
            return self.decode(model, config, None, rngs, on_token);
        };
        let mut lookup = PromptLookup::new(num_tokens, self.token_rows.len(), &self.cache)?;
        let mut completions = self.decode(model, config, Some(&mut lookup), rngs, on_token);
        // Proposed tokens that the text has not reached; its last token is not processed yet.
        self.cache.truncate(self.token_rows[0].len().saturating_sub(1));
        for completion in completions.iter_mut().flatten() {
            completion.n_accepted = lookup.n_accepted();
        }
        completions
    }

    /// Decoding loop of [`Self::generate`].
    fn decode(
        &mut self,
        model: &GptModern,
        config: &GenerateConfig,
        mut lookup: Option<&mut PromptLookup>,
        rngs: &mut [Rng],
        mut on_token: impl FnMut(usize, u32) -> Result<()>,
    ) -> Result<Vec<Completion>> {
        let (len, context_len) = (self.token_rows[0].len(), model.config().context_len);
        ensure!(len > self.cache.position(), "the prompt is empty: there is nothing to continue");
        let bounded = self.cache.is_dynamic() || model.config().attention.position.is_limited();
        if bounded && len > context_len {
            return Err(PromptTooLong { len, context_len, has_lookup: lookup.is_some() }.into());
        }
        let mut rows = self.new_rows(&config.sampler, model.config().vocab_size, rngs)?;
        let mut left = Vec::new(); // rows that have left the batch
        let mut logits = self.next_logits(model, config.prefill_chunk, 1)?;
        for step in 0..config.max_new_tokens {
            if step < config.min_new_tokens {
                forbid(&config.stop_tokens, &mut logits, rows.len());
            }
            let sampled = sample_rows(&config.sampler, &logits, &mut rows);
            let texts = &mut self.token_rows;
            push_sampled(&mut rows, texts, sampled, &config.stop_tokens, &mut on_token)?;
            if bounded && self.token_rows[0].len() > context_len {
                let active = rows.iter_mut().filter(|row| !row.has_ended);
                active.for_each(|row| row.end(FinishReason::ContextFull));
            }
            let n_ended = rows.iter().filter(|row| row.has_ended).count();
            if n_ended == rows.len() || step + 1 == config.max_new_tokens {
                break;
            }
            // A copy of the cache costs about as much as it saves in a few steps.
            if 4 * n_ended >= rows.len() {
                left.extend(self.remove_ended(&mut rows, model.device())?);
            }
            logits = match &mut lookup {
                None => self.next_logits(model, config.prefill_chunk, 1)?,
                // A pass gives one token more than it accepts.
                Some(lookup) => {
                    let max_tokens = config.max_new_tokens - step - 2;
                    self.next_logits_with_lookup(model, lookup, max_tokens)?
                }
            };
        }
        left.extend(rows);
        left.sort_unstable_by_key(|row| row.number);
        Ok(left.into_iter().map(|row| row.completion).collect())
    }

    /// Rows of the batch, without new tokens.
    fn new_rows<'a>(
        &self,
        sampler: &Sampler,
        vocab_size: usize,
        rngs: &'a mut [Rng],
    ) -> Result<Vec<Row<'a>>> {
        let (n_rows, n_rngs) = (self.token_rows.len(), rngs.len());
        ensure!(n_rows == n_rngs, "{n_rows} rows need as many random generators, got {n_rngs}");
        let texts = self.token_rows.iter().zip(&self.padding).map(|(row, &n)| &row[n..]);
        let rows = texts.zip(rngs).enumerate();
        rows.map(|(i, (text, rng))| Row::new(i, text, sampler, vocab_size, rng)).collect()
    }

    /// Takes the rows that have ended out of `rows` and of the state, and returns them.
    fn remove_ended<'a>(
        &mut self,
        rows: &mut Vec<Row<'a>>,
        device: &Device,
    ) -> Result<Vec<Row<'a>>> {
        let kept: Vec<usize> = (0..rows.len()).filter(|&i| !rows[i].has_ended).collect();
        self.cache.keep_rows(&kept, device)?;
        self.token_rows = kept.iter().map(|&i| std::mem::take(&mut self.token_rows[i])).collect();
        self.padding = kept.iter().map(|&i| self.padding[i]).collect();
        Ok(rows.extract_if(.., |row| row.has_ended).collect())
    }

    /// Logits of the token after the only row: those of the last pass over proposed tokens if the
    /// row ends with the one proposed, else those of another pass over at most `max_tokens`.
    fn next_logits_with_lookup(
        &mut self,
        model: &GptModern,
        lookup: &mut PromptLookup,
        max_tokens: usize,
    ) -> Result<Vec<f32>> {
        let text = &self.token_rows[0];
        if let Some(logits) = lookup.accept(text) {
            return Ok(logits);
        }
        let room = max_proposed_tokens(model.config(), text.len());
        let proposed = lookup.propose(text, max_tokens.min(room));
        let logits = self.logits_of_proposed(model, &proposed)?;
        Ok(lookup.start_pass(proposed, logits))
    }

    /// Logits of the tokens after the only row and after each `proposed` one behind it: (1 + K, V).
    /// Rejected tokens of an earlier call leave the cache.
    fn logits_of_proposed(&mut self, model: &GptModern, proposed: &[u32]) -> Result<Vec<f32>> {
        let (len, n) = (self.token_rows[0].len(), 1 + proposed.len());
        self.cache.truncate(len - 1);
        self.token_rows[0].extend(proposed);
        let logits = self.next_logits(model, n, n);
        self.token_rows[0].truncate(len);
        logits
    }

    /// Processes all new tokens in chunks of `chunk`, and returns the logits of the tokens after
    /// the last `n` ones, which are in one chunk: (B, n, V).
    fn next_logits(&mut self, model: &GptModern, chunk: usize, n: usize) -> Result<Vec<f32>> {
        let end = self.token_rows[0].len();
        let chunk = self.prefill_chunk(model, end, chunk);
        loop {
            let position = self.cache.position();
            let t = (end - position).min(chunk);
            let ids = self.next_input_ids(model, t)?; // (B, T)
            let hidden = model.hidden_states_cached(&ids, &mut self.cache)?; // (B, T, C)
            if position + t == end {
                let last = hidden.narrow(1, t - n, n)?.flatten(0, 1)?.contiguous()?; // (B n, C)
                let logits = model.logits(&last)?;
                ensure!(
                    !logits.track_op(),
                    "generation needs the inference copy of a model (`Parameters::for_inference`)"
                );
                // GPU sync point.
                let logits = logits.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
                let logits: Vec<f32> = logits.flatten_all()?.to_vec1()?;
                let valid = !logits.iter().any(|x| x.is_nan() || *x == f32::INFINITY);
                ensure!(valid, "the model's logits are NaN or infinite: its weights are damaged");
                return Ok(logits);
            }
        }
    }

    /// Number of tokens to process at once, so far `chunk`, of texts of `end` tokens. Texts whose
    /// length changes RoPE's frequencies are read again, as a whole.
    fn prefill_chunk(&mut self, model: &GptModern, end: usize, chunk: usize) -> usize {
        match model.config().attention.position.frequency_change() {
            Some(limit) if end > limit && self.cache.position() <= limit => {
                self.cache.truncate(0);
                end
            }
            _ => chunk.max(1),
        }
    }

    /// Next `t` tokens to process: (B, T).
    fn next_input_ids(&self, model: &GptModern, t: usize) -> candle_core::Result<Tensor> {
        let start = self.cache.position();
        let ids = self.token_rows.iter().flat_map(|row| &row[start..start + t]).copied().collect();
        Tensor::from_vec(ids, (self.token_rows.len(), t), model.device())
    }
}
