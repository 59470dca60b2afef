//! 8.2 Prompts and responses as the model reads them: a prompt once, and behind it all the responses to it.
//!
//! ```text
//! tokens      p p p  a a a  b b  c c c        position  0 1 2  3 4 5  3 4  3 4 5
//! sees        its own letter, and p
//! ```
//!
//! With eight short responses to a prompt, this is a third of the tokens of eight texts. What comes out is laid out by
//! response: (R, T), with a mask that says how long each one is.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use modern::{AttentionContext, GptModern, ModelConfig};

use crate::rollout::{RolloutGroup, SampledCompletion};

/// Groups in a batch: R responses, the longest of T tokens, N tokens in all.
#[derive(Debug)]
pub struct TokenBatch {
    /// 1 where a response has a token, else 0: (R, T)
    pub mask: Tensor,
    /// The tokens of all responses, one behind the other: (N), i64.
    pub targets: Tensor,
    /// What the model reads: (B, S), a row for each prompt with all its responses, or, where a window forbids it, for each response.
    inputs: Tensor,
    attention: AttentionContext,
    /// The place among the B · S from which each token is predicted: (N).
    predicting_positions: Tensor,
    /// The place after the last token of each response that was cut off, and which response that is.
    bootstrap_positions: (Tensor, Vec<usize>),
    /// For each of R · T places its number among the N, counted from 1; 0 where there is none.
    token_numbers: Tensor,
    /// Among which tokens each of the N was drawn; empty where no filter kept any out.
    allowed_tokens: Vec<Vec<u32>>,
}

impl TokenBatch {
    /// `groups` as a model of `config` reads them.
    ///
    /// # Errors
    /// When there is no response, or memory is short.
    pub fn from_groups<'a>(
        groups: impl IntoIterator<Item = &'a RolloutGroup>,
        config: &ModelConfig,
        device: &Device,
    ) -> Result<Self> {
        let mut rows: Vec<(&[u32], &[SampledCompletion])> = Vec::new();
        for RolloutGroup { prompt, completions: responses } in groups {
            match config.attention.window {
                None => rows.push((prompt, responses)),
                Some(_) => rows.extend(responses.chunks(1).map(|one| (&prompt[..], one))),
            }
        }
        let read = |response: &SampledCompletion| {
            response.tokens.len() - usize::from(response.terminated())
        };
        let width = |(prompt, responses): &(&[u32], &[SampledCompletion])| {
            prompt.len() + responses.iter().map(read).sum::<usize>()
        };
        let s = rows.iter().map(width).max().unwrap_or(0);
        let (mut inputs, mut segments) = (Vec::new(), Vec::new());
        let (mut before, mut after, mut cut) = (Vec::new(), Vec::new(), Vec::new());
        let mut all: Vec<&SampledCompletion> = Vec::new();
        for (b, (prompt, responses)) in rows.iter().enumerate() {
            let mut segment = vec![1; prompt.len()];
            inputs.extend_from_slice(prompt);
            for (number, response) in (2u32..).zip(*responses) {
                let start = (b * s + segment.len()) as u32;
                before.push((b * s + prompt.len() - 1) as u32); // the prompt's end predicts the first token
                before.extend((start..).take(response.tokens.len() - 1));
                if !response.terminated() {
                    after.push(start + response.tokens.len() as u32 - 1);
                    cut.push(all.len());
                }
                inputs.extend_from_slice(&response.tokens[..read(response)]);
                segment.resize(segment.len() + read(response), number);
                all.push(response);
            }
            inputs.resize((b + 1) * s, 0); // any token will do
            segment.resize(s, 0);
            segments.push(segment);
        }
        let pass = match config.attention.window {
            None => {
                let stems = rows.iter().map(|(prompt, _)| prompt.len()).collect();
                AttentionContext::shared_prefix(&config.attention, stems, &segments, device)?
            }
            Some(_) => AttentionContext::full_sequence(config.attention.mask()), // padding on the right is seen by nobody
        };
        let (mask, places) = mask_and_token_numbers(&all, device)?;
        let targets = all.iter().flat_map(|response| &response.tokens).map(|&id| i64::from(id));
        Ok(Self {
            mask,
            targets: Tensor::from_iter(targets, device)?,
            inputs: Tensor::from_vec(inputs, (rows.len(), s), device)?,
            attention: pass,
            predicting_positions: Tensor::new(before, device)?,
            bootstrap_positions: (Tensor::new(after, device)?, cut),
            token_numbers: places,
            allowed_tokens: all
                .iter()
                .flat_map(|response| &response.allowed_tokens)
                .cloned()
                .collect(),
        })
    }

    /// R
    pub fn n_completions(&self) -> usize {
        self.mask.dims()[0]
    }

    /// N
    pub fn n_tokens(&self) -> usize {
        self.targets.elem_count()
    }

    /// How many tokens the model reads, padding included.
    pub fn n_input_tokens(&self) -> usize {
        self.inputs.elem_count()
    }

    /// What `model` knows at every place: (B · S, C).
    ///
    /// # Errors
    /// When a text is longer than the model's context.
    pub fn hidden(&self, model: &GptModern) -> Result<Tensor> {
        Ok(model.hidden_states_in_context(&self.inputs, &self.attention, None)?.flatten(0, 1)?)
    }

    /// Of what is `known: (B · S, C)`, what was known before each token: (N, C).
    ///
    /// # Errors
    /// When memory is short.
    pub fn at_predicting_positions(&self, known: &Tensor) -> Result<Tensor> {
        Ok(known.index_select(&self.predicting_positions, 0)?)
    }

    /// What is known after the last token of each response that was cut off, (K, C), and which responses these are; nothing
    /// where there are none.
    ///
    /// # Errors
    /// When memory is short.
    pub fn at_bootstrap_positions(&self, known: &Tensor) -> Result<Option<(Tensor, &[usize])>> {
        let (at, cut) = &self.bootstrap_positions;
        Ok(match cut.is_empty() {
            true => None,
            false => Some((known.index_select(at, 0)?, cut)),
        })
    }

    /// What is said of each token, (N), laid out by response: (R, T), 0 where there is no token.
    ///
    /// # Errors
    /// When memory is short.
    pub fn to_padded(&self, flat: &Tensor) -> Result<Tensor> {
        let none = Tensor::zeros(1, flat.dtype(), flat.device())?;
        let padded = Tensor::cat(&[&none, flat], 0)?.index_select(&self.token_numbers, 0)?;
        Ok(padded.reshape(self.mask.shape())?)
    }

    /// The logarithms of the probabilities with which the tokens were drawn: (R, T).
    ///
    /// # Errors
    /// When `groups` are not those of the batch.
    pub fn behavior_log_probs<'a>(
        &self,
        groups: impl IntoIterator<Item = &'a RolloutGroup>,
    ) -> Result<Tensor> {
        let responses = groups.into_iter().flat_map(|group| &group.completions);
        let flat = responses.flat_map(|response| response.log_probs.iter().copied());
        self.to_padded(&Tensor::from_iter(flat, self.mask.device())?)
    }

    /// What is added to the scores of each of the N tokens so that only those it was drawn among are left: (N, V), 0 or −∞; nothing where
    /// no filter kept any out.
    ///
    /// # Errors
    /// When memory is short.
    pub fn allowed_tokens_mask(&self, v: usize) -> Result<Option<Tensor>> {
        if self.allowed_tokens.is_empty() {
            return Ok(None);
        }
        let mut scores = vec![f32::NEG_INFINITY; self.allowed_tokens.len() * v];
        for (row, kept) in scores.chunks_exact_mut(v).zip(&self.allowed_tokens) {
            kept.iter().for_each(|&token| row[token as usize] = 0.);
        }
        Ok(Some(Tensor::from_vec(scores, (self.allowed_tokens.len(), v), self.mask.device())?))
    }
}

/// The mask (R, T), and the number of each place's token, (R · T).
fn mask_and_token_numbers(all: &[&SampledCompletion], device: &Device) -> Result<(Tensor, Tensor)> {
    let t = all.iter().map(|response| response.tokens.len()).max().unwrap_or(0);
    let mut places = Vec::with_capacity(all.len() * t);
    let mut next = 1u32;
    for response in all {
        let len = response.tokens.len();
        places.extend((next..).take(len));
        places.resize(places.len() + t - len, 0);
        next += len as u32;
    }
    let places = Tensor::new(places, device)?;
    let mask = places.reshape((all.len(), t))?.ne(0u32)?.to_dtype(DType::F32)?;
    Ok((mask, places))
}
