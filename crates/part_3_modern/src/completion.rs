//! Completions, and the rows of a batch that they grow in.

use anyhow::{Result, anyhow};
use serde::{Deserialize, Serialize};
use tensor_core::{Rng, threads};

use crate::sampler::{SampledToken, Sampler};

/// Completion of one prompt.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Completion {
    /// New tokens, the stop token included.
    pub tokens: Vec<u32>,
    /// Log-probability of each token under the distribution that it was sampled from, as in
    /// [`SampledToken::log_prob`].
    pub log_probs: Vec<f32>,
    /// Reason why the completion ended.
    pub finish_reason: FinishReason,
    /// Number of tokens that prompt lookup proposed and the sampler accepted, each of which saved a
    /// forward pass (the last token is not counted: no pass would follow it).
    pub n_accepted: usize,
}

impl Completion {
    /// Number of forward passes that gave the tokens, the prefill counted as one.
    pub fn n_passes(&self) -> usize {
        self.tokens.len() - self.n_accepted
    }
}

/// Reason why a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum FinishReason {
    /// Truncated at `max_new_tokens`: nothing else has ended it.
    #[default]
    Length,
    /// Ended by a stop token.
    Stop,
    /// Truncated at the model's context length.
    ContextFull,
}

/// Row of a batch that is being completed.
pub(crate) struct Row<'a> {
    /// Number of the row in the batch as it was at first.
    pub(crate) number: usize,
    pub(crate) completion: Completion,
    pub(crate) has_ended: bool,
    /// Flags of the tokens that occur in the row; empty without a repetition penalty.
    occurred: Vec<bool>,
    rng: &'a mut Rng,
}

impl<'a> Row<'a> {
    /// Row `number`, whose tokens so far are `text`, for a model with `vocab_size` tokens.
    pub(crate) fn new(
        number: usize,
        text: &[u32],
        sampler: &Sampler,
        vocab_size: usize,
        rng: &'a mut Rng,
    ) -> Result<Self> {
        if let Some(token) = text.iter().find(|&&token| token as usize >= vocab_size) {
            return Err(anyhow!("token {token} is outside the vocabulary of {vocab_size}"));
        }
        let mut occurred = Vec::new();
        if sampler.repetition_penalty != 1. {
            occurred = vec![false; vocab_size];
            text.iter().for_each(|&token| occurred[token as usize] = true);
        }
        Ok(Self { number, completion: Completion::default(), has_ended: false, occurred, rng })
    }

    /// Appends a token to the completion.
    pub(crate) fn push(&mut self, SampledToken { token, log_prob }: SampledToken) {
        self.completion.tokens.push(token);
        self.completion.log_probs.push(log_prob);
        if let Some(flag) = self.occurred.get_mut(token as usize) {
            *flag = true;
        }
    }

    pub(crate) fn end(&mut self, reason: FinishReason) {
        (self.completion.finish_reason, self.has_ended) = (reason, true);
    }
}

/// Samples the next token of each row that has not ended from its logits in `logits: (B, V)`, with
/// the row's own random generator.
pub(crate) fn sample_rows(
    sampler: &Sampler,
    logits: &[f32],
    rows: &mut [Row<'_>],
) -> Vec<Option<SampledToken>> {
    let v = logits.len() / rows.len().max(1);
    let mut rows: Vec<_> = logits.chunks_exact(v).zip(rows).map(|row| (row, None)).collect();
    threads::parallel_for_each(&mut rows, |((logits, row), sampled)| {
        if !row.has_ended {
            *sampled = Some(sampler.sample_token(logits, &row.occurred, row.rng));
        }
    });
    rows.into_iter().map(|(_, sampled)| sampled).collect()
}

/// Appends the `sampled` tokens to the completions of `rows` and to their `texts`. The text of a
/// row that has ended is filled; one of `stop_tokens` ends its row; others go to `on_token`.
///
/// # Errors
/// The first of `on_token`, after which it is not called again. All texts have the same length even
/// then.
pub(crate) fn push_sampled(
    rows: &mut [Row<'_>],
    texts: &mut [Vec<u32>],
    sampled: Vec<Option<SampledToken>>,
    stop_tokens: &[u32],
    on_token: &mut impl FnMut(usize, u32) -> Result<()>,
) -> Result<()> {
    let mut callback_result = Ok(());
    for ((row, text), sampled) in rows.iter_mut().zip(texts).zip(sampled) {
        let Some(sampled) = sampled else {
            text.push(0); // fills a row that has ended
            continue;
        };
        row.push(sampled);
        text.push(sampled.token);
        if stop_tokens.contains(&sampled.token) {
            row.end(FinishReason::Stop);
        } else {
            callback_result = callback_result.and_then(|()| on_token(row.number, sampled.token));
        }
    }
    callback_result
}

/// Sets the logits of `tokens` to −∞ in each of the `n_rows` rows of `logits`.
pub(crate) fn forbid(tokens: &[u32], logits: &mut [f32], n_rows: usize) {
    let v = logits.len() / n_rows.max(1);
    for row in logits.chunks_exact_mut(v) {
        let tokens = tokens.iter().filter(|token| (**token as usize) < v);
        tokens.for_each(|&token| row[token as usize] = f32::NEG_INFINITY);
    }
}
