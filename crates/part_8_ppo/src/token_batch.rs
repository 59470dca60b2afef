//! 8.3 Groups of completions, and batches of a shared prefix: each row is a prompt followed by all
//! completions of its group.
//!
//! ```text
//! tokens      p p p  a a a  b b  c c c        position  0 1 2  3 4 5  3 4  3 4 5
//! attends to  its own letter, and p
//! ```
//!
//! With eight short completions per prompt, that is a third of the tokens of eight separate texts.
//! Per-token results have shape (R, T), with a mask of the lengths. Lengths are stored, never
//! inferred from token values, so a model whose EOS token is also its padding token works.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use model_io::ModelConfig;
use modern::{AttentionContext, FinishReason, GptModern};

/// Prompt with its completions.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutGroup {
    /// Token ids of the prompt.
    pub prompt: Vec<u32>,
    /// Completions sampled for it.
    pub completions: Vec<SampledCompletion>,
}

impl RolloutGroup {
    /// Number of completion tokens.
    pub fn n_tokens(&self) -> usize {
        self.completions.iter().map(|completion| completion.tokens.len()).sum()
    }
}

/// Completion as it was sampled.
#[derive(Debug, Clone, PartialEq)]
pub struct SampledCompletion {
    /// Token ids, with the stop token if it terminated; at least one.
    pub tokens: Vec<u32>,
    /// Log-probability with which each token was sampled.
    pub log_probs: Vec<f32>,
    /// Tokens that the sampling filters allowed at each position; empty without filters.
    pub allowed_tokens: Vec<Vec<u32>>,
    /// Reason why it ended.
    pub finish_reason: FinishReason,
}

impl SampledCompletion {
    /// Whether it ended with a stop token, so was not truncated.
    pub fn terminated(&self) -> bool {
        self.finish_reason == FinishReason::Stop
    }
}

/// Batch of groups: R completions, the longest of T tokens, N tokens in all.
#[derive(Debug)]
pub struct TokenBatch {
    /// Completion mask, (R, T): 1 at tokens, 0 at padding.
    pub mask: Tensor,
    /// Tokens of all completions, concatenated: (N), i64.
    pub targets: Tensor,
    /// Input ids, (B, S): a row per prompt with all its completions; with a sliding window, a row
    /// per completion.
    inputs: Tensor,
    attention: AttentionContext,
    /// Position among the B · S that predicts each token: (N).
    predicting_positions: Tensor,
    /// Position of the last token of each truncated completion, and the index of that completion.
    bootstrap_positions: (Tensor, Vec<usize>),
    /// Index of the token at each of the R · T positions among the N, counted from 1; 0 at padding.
    token_numbers: Tensor,
    /// Tokens that the filters allowed at each of the N positions; empty without filters.
    allowed_tokens: Vec<Vec<u32>>,
}

impl TokenBatch {
    /// Batch of `groups` for a model of `config`.
    ///
    /// # Errors
    /// When there are no completions, or memory is short.
    pub fn from_groups<'a>(
        groups: impl IntoIterator<Item = &'a RolloutGroup>,
        config: &ModelConfig,
        device: &Device,
    ) -> Result<Self> {
        let mut rows: Vec<(&[u32], &[SampledCompletion])> = Vec::new();
        for RolloutGroup { prompt, completions } in groups {
            match config.attention.window {
                None => rows.push((prompt, completions)),
                Some(_) => rows.extend(completions.chunks(1).map(|one| (&prompt[..], one))),
            }
        }
        let n_read = |completion: &SampledCompletion| {
            completion.tokens.len() - usize::from(completion.terminated())
        };
        let width = |(prompt, completions): &(&[u32], &[SampledCompletion])| {
            prompt.len() + completions.iter().map(n_read).sum::<usize>()
        };
        let s = rows.iter().map(width).max().unwrap_or(0);
        let (mut inputs, mut segments) = (Vec::new(), Vec::new());
        let (mut predicting, mut bootstrap, mut truncated) = (Vec::new(), Vec::new(), Vec::new());
        let mut all: Vec<&SampledCompletion> = Vec::new();
        for (b, (prompt, completions)) in rows.iter().enumerate() {
            let mut segment = vec![1; prompt.len()];
            inputs.extend_from_slice(prompt);
            for (number, completion) in (2u32..).zip(*completions) {
                let start = (b * s + segment.len()) as u32;
                // The prompt's end predicts the first token.
                predicting.push((b * s + prompt.len() - 1) as u32);
                predicting.extend((start..).take(completion.tokens.len() - 1));
                if !completion.terminated() {
                    bootstrap.push(start + completion.tokens.len() as u32 - 1);
                    truncated.push(all.len());
                }
                inputs.extend_from_slice(&completion.tokens[..n_read(completion)]);
                segment.resize(segment.len() + n_read(completion), number);
                all.push(completion);
            }
            inputs.resize((b + 1) * s, 0); // padding, of any value
            segment.resize(s, 0);
            segments.push(segment);
        }
        let attention = match config.attention.window {
            None => {
                let prefix_lens = rows.iter().map(|(prompt, _)| prompt.len()).collect();
                AttentionContext::shared_prefix(&config.attention, prefix_lens, &segments, device)?
            }
            // Nothing attends to padding on the right.
            Some(_) => AttentionContext::full_sequence(config.attention.mask()),
        };
        let (mask, token_numbers) = mask_and_token_numbers(&all, device)?;
        let targets = all.iter().flat_map(|completion| &completion.tokens).map(|&id| i64::from(id));
        let allowed_tokens = all.iter().flat_map(|completion| completion.allowed_tokens.clone());
        Ok(Self {
            mask,
            targets: Tensor::from_iter(targets, device)?,
            inputs: Tensor::from_vec(inputs, (rows.len(), s), device)?,
            attention,
            predicting_positions: Tensor::new(predicting, device)?,
            bootstrap_positions: (Tensor::new(bootstrap, device)?, truncated),
            token_numbers,
            allowed_tokens: allowed_tokens.collect(),
        })
    }

    /// Number R of completions.
    pub fn n_completions(&self) -> usize {
        self.mask.dims()[0]
    }

    /// Number N of completion tokens.
    pub fn n_tokens(&self) -> usize {
        self.targets.elem_count()
    }

    /// Number of input tokens B · S, padding included.
    pub fn n_input_tokens(&self) -> usize {
        self.inputs.elem_count()
    }

    /// Hidden states of `model` at every position: (B · S, C).
    ///
    /// # Errors
    /// When a text is longer than the model's context.
    pub fn hidden(&self, model: &GptModern) -> Result<Tensor> {
        Ok(model.hidden_states_in_context(&self.inputs, &self.attention, None)?.flatten(0, 1)?)
    }

    /// Rows of `hidden: (B · S, C)` that predict the tokens: (N, C).
    ///
    /// # Errors
    /// When memory is short.
    pub fn at_predicting_positions(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(hidden.index_select(&self.predicting_positions, 0)?)
    }

    /// Rows of `hidden: (B · S, C)` at the last token of the K truncated completions, (K, C), and
    /// the indices of these completions; `None` if K = 0.
    ///
    /// # Errors
    /// When memory is short.
    pub fn at_bootstrap_positions(&self, hidden: &Tensor) -> Result<Option<(Tensor, &[usize])>> {
        let (positions, truncated) = &self.bootstrap_positions;
        Ok(match truncated.is_empty() {
            true => None,
            false => Some((hidden.index_select(positions, 0)?, truncated)),
        })
    }

    /// Per-token values `flat: (N)` as rows of completions: (R, T), 0 at padding.
    ///
    /// # Errors
    /// When memory is short.
    pub fn to_padded(&self, flat: &Tensor) -> Result<Tensor> {
        let padding = Tensor::zeros(1, flat.dtype(), flat.device())?;
        let padded = Tensor::cat(&[&padding, flat], 0)?.index_select(&self.token_numbers, 0)?;
        Ok(padded.reshape(self.mask.shape())?)
    }

    /// Log-probabilities with which the tokens were sampled: (R, T).
    ///
    /// # Errors
    /// When `groups` differ from those of the batch.
    pub fn behavior_log_probs<'a>(
        &self,
        groups: impl IntoIterator<Item = &'a RolloutGroup>,
    ) -> Result<Tensor> {
        let completions = groups.into_iter().flat_map(|group| &group.completions);
        let flat = completions.flat_map(|completion| completion.log_probs.iter().copied());
        self.to_padded(&Tensor::from_iter(flat, self.mask.device())?)
    }

    /// Mask to add to logits, (N, V): 0 for tokens that the filters allowed, −∞ for the others;
    /// `None` without filters.
    ///
    /// # Errors
    /// When memory is short.
    pub fn allowed_tokens_mask(&self, v: usize) -> Result<Option<Tensor>> {
        if self.allowed_tokens.is_empty() {
            return Ok(None);
        }
        let mut mask = vec![f32::NEG_INFINITY; self.allowed_tokens.len() * v];
        for (row, allowed) in mask.chunks_exact_mut(v).zip(&self.allowed_tokens) {
            allowed.iter().for_each(|&token| row[token as usize] = 0.);
        }
        Ok(Some(Tensor::from_vec(mask, (self.allowed_tokens.len(), v), self.mask.device())?))
    }
}

/// T, the number of tokens of the longest completion of `groups`.
pub fn longest_completion(groups: &[RolloutGroup]) -> usize {
    let completions = groups.iter().flat_map(|group| &group.completions);
    completions.map(|completion| completion.tokens.len()).max().unwrap_or(0)
}

/// Completion mask, (R, T), and the token index of each position, (R · T).
fn mask_and_token_numbers(all: &[&SampledCompletion], device: &Device) -> Result<(Tensor, Tensor)> {
    let t = all.iter().map(|completion| completion.tokens.len()).max().unwrap_or(0);
    let mut numbers = Vec::with_capacity(all.len() * t);
    let mut next = 1u32;
    for completion in all {
        let len = completion.tokens.len();
        numbers.extend((next..).take(len));
        numbers.resize(numbers.len() + t - len, 0);
        next += len as u32;
    }
    let numbers = Tensor::new(numbers, device)?;
    let mask = numbers.reshape((all.len(), t))?.ne(0u32)?.to_dtype(DType::F32)?;
    Ok((mask, numbers))
}
