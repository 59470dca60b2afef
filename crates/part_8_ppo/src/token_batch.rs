//! 8.3 Batches of a shared prefix: each row is a prompt followed by all completions of its group.
//!
//! ```text
//! tokens      p p p  a a a  b b  c c c        position  0 1 2  3 4 5  3 4  3 4 5
//! attends to  its own letter, and p
//! ```
//!
//! With eight short completions per prompt, that is a third of the tokens of eight separate texts.
//! Per-token results have shape (R, T), with a mask of the lengths. Lengths are stored, never
//! inferred from token values, so a model whose EOS token is also its padding token works.

use std::sync::Arc;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use model_io::ModelConfig;
use model_io::config::AttentionConfig;
use modern::{AttentionContext, GptModern};

use crate::rollout_group::{AllowedTokens, RolloutGroup, SampledCompletion};

/// Row of a batch: a prompt followed by completions. Positions count from the start of the row.
struct RowLayout {
    prompt_len: usize,
    /// Tokens that the model reads.
    input_ids: Vec<u32>,
    /// 1 in the prompt, 2 in the first completion, 3 in the second, and so on.
    segment_ids: Vec<u32>,
    /// Position that predicts each completion token.
    predicting_positions: Vec<usize>,
    /// Position of the last token of each truncated completion.
    bootstrap_positions: Vec<usize>,
}

impl RowLayout {
    fn new(prompt: &[u32], completions: &[SampledCompletion]) -> Self {
        let mut row = Self {
            prompt_len: prompt.len(),
            input_ids: prompt.to_vec(),
            segment_ids: vec![1; prompt.len()],
            predicting_positions: Vec::new(),
            bootstrap_positions: Vec::new(),
        };
        for (segment, completion) in (2..).zip(completions) {
            let (start, n_tokens) = (row.input_ids.len(), completion.tokens.len());
            row.predicting_positions.push(prompt.len() - 1); // its end predicts the first token
            row.predicting_positions.extend((start..).take(n_tokens - 1));
            if !completion.terminated() {
                row.bootstrap_positions.push(start + n_tokens - 1);
            }
            row.input_ids.extend(completion.input_ids());
            row.segment_ids.resize(row.input_ids.len(), segment);
        }
        row
    }
}

/// Batch of groups: R completions, the longest of T tokens, N tokens in all.
#[derive(Debug)]
pub struct TokenBatch {
    /// Completion mask, (R, T): 1 at tokens, 0 at padding.
    pub mask: Tensor,
    /// Tokens of all completions, concatenated: (N), i64.
    pub targets: Tensor,
    /// Input ids, (B, S): a row per prompt with all its completions; with a sliding window that
    /// some text exceeds, a row per completion.
    inputs: Tensor,
    attention: AttentionContext,
    /// Position among the B · S that predicts each token: (N).
    predicting_positions: Tensor,
    /// Position of the last token of each truncated completion, and the index of that completion.
    bootstrap_positions: (Tensor, Vec<usize>),
    /// Index of the token at each of the R · T positions among the N, counted from 1; 0 at padding.
    token_numbers: Tensor,
    /// Tokens that could be sampled at each of the N positions; empty if all could.
    allowed_tokens: Arc<[AllowedTokens]>,
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
        let groups: Vec<&RolloutGroup> = groups.into_iter().collect();
        // A window that no text exceeds hides nothing.
        let longest = longest_text(&groups);
        let window = config.attention.window.filter(|layers| longest > layers.window.size);
        let attention = AttentionConfig { window, ..config.attention };
        let (mut rows, mut completions) = (Vec::new(), Vec::new());
        for RolloutGroup { prompt, completions: all } in groups {
            let per_row = if window.is_none() { all.len().max(1) } else { 1 };
            rows.extend(all.chunks(per_row).map(|some| RowLayout::new(prompt, some)));
            completions.extend(all);
        }
        let s = rows.iter().map(|row| row.input_ids.len()).max().unwrap_or(0);
        for row in &mut rows {
            row.input_ids.resize(s, 0); // padding, of any value
            row.segment_ids.resize(s, 0);
        }
        let attention = match window {
            None => {
                let prefix_lens = rows.iter().map(|row| row.prompt_len).collect();
                let segments: Vec<_> = rows.iter().map(|row| row.segment_ids.clone()).collect();
                AttentionContext::shared_prefix(&attention, prefix_lens, &segments)?
            }
            // Nothing attends to padding on the right.
            Some(_) => AttentionContext::full_sequence(&attention),
        };
        // Positions in rows as positions among the B · S.
        let in_batch = |positions: fn(&RowLayout) -> &[usize]| -> candle_core::Result<Tensor> {
            let rows = rows.iter().enumerate();
            let all = rows.flat_map(|(b, row)| positions(row).iter().map(move |at| b * s + at));
            Tensor::new(all.map(|at| at as u32).collect::<Vec<u32>>(), device)
        };
        let truncated = (0..completions.len()).filter(|&i| !completions[i].terminated()).collect();
        let (mask, token_numbers) = mask_and_token_numbers(&completions, device)?;
        let targets = completions.iter().flat_map(|completion| &completion.tokens);
        let allowed_tokens = completions.iter().flat_map(|completion| &completion.allowed_tokens);
        let inputs: Vec<u32> = rows.iter().flat_map(|row| row.input_ids.iter().copied()).collect();
        Ok(Self {
            mask,
            targets: Tensor::from_iter(targets.map(|&id| i64::from(id)), device)?,
            inputs: Tensor::from_vec(inputs, (rows.len(), s), device)?,
            attention,
            predicting_positions: in_batch(|row| &row.predicting_positions)?,
            bootstrap_positions: (in_batch(|row| &row.bootstrap_positions)?, truncated),
            token_numbers,
            allowed_tokens: allowed_tokens.cloned().collect(),
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

    /// Tokens that could be sampled at each of the N positions; empty if all could.
    pub fn allowed_tokens(&self) -> Arc<[AllowedTokens]> {
        self.allowed_tokens.clone()
    }
}

/// Length of the longest prompt with a completion.
fn longest_text(groups: &[&RolloutGroup]) -> usize {
    let lens = groups.iter().flat_map(|group| {
        group.completions.iter().map(|completion| group.prompt.len() + completion.tokens.len())
    });
    lens.max().unwrap_or(0)
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
