//! 7.1 A preference as tokens, and batches of them: chosen and rejected responses beside each other, for one pass of the model.

use anyhow::Result;
use candle_core::{Device, Tensor};
use sft::ChatTokenizer;

use crate::checkpoint::{right_pad, tokenize_conversation};
use crate::{Preference, RewardModel};

/// The tokens of a conversation with either response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizedPair {
    /// With the better one.
    pub chosen: Vec<u32>,
    /// With the worse one.
    pub rejected: Vec<u32>,
    /// Characters of the two responses alone: the same whatever the tokenizer.
    pub completion_chars: [usize; 2],
}

/// Preferences as tokens, and what became of those that are too long.
#[derive(Debug, Clone, Default)]
pub struct TokenizedPairs {
    /// Those that differ.
    pub pairs: Vec<TokenizedPair>,
    /// Of these, how many lost the beginning of their conversation.
    pub n_truncated: usize,
    /// How many became twice the same, as what is left of the responses is the same.
    pub n_identical: usize,
}

/// `preferences` as tokens of a model that reads `context` tokens.
///
/// # Errors
/// When the template refuses a conversation.
pub fn tokenize_pairs(
    preferences: &[Preference],
    speech: &ChatTokenizer,
    context: usize,
) -> Result<TokenizedPairs> {
    let mut all = TokenizedPairs::default();
    for Preference { prompt, chosen, rejected } in preferences {
        let whole = |response| tokenize_conversation(speech, prompt, response, usize::MAX);
        let [mut better, mut worse] = [whole(chosen)?, whole(rejected)?];
        let too_long = better.len().max(worse.len()) > context;
        for ids in [&mut better, &mut worse] {
            ids.drain(..ids.len().saturating_sub(context));
        }
        if better == worse {
            all.n_identical += 1;
            continue;
        }
        all.n_truncated += usize::from(too_long);
        let lengths = [chosen, rejected].map(|response| response.chars().count());
        all.pairs.push(TokenizedPair {
            chosen: better,
            rejected: worse,
            completion_chars: lengths,
        });
    }
    Ok(all)
}

/// A name that follows from what these pairs are, so that a checkpoint is not continued with others.
pub fn pairs_sha256<'a>(pairs: impl Iterator<Item = &'a TokenizedPair>) -> String {
    scaling::sha256::hash_token_sequences(pairs.flat_map(|pair| [&pair.chosen, &pair.rejected]))
}

/// P pairs as the model reads them.
#[derive(Debug, Clone)]
pub struct PairBatch {
    /// (2P, T): the chosen responses, then the rejected ones.
    pub ids: Tensor,
    /// Of each row.
    pub lengths: Vec<usize>,
}

impl PairBatch {
    /// Of these pairs.
    ///
    /// # Errors
    /// When memory is short.
    pub fn from_pairs(pairs: &[&TokenizedPair], device: &Device) -> Result<Self> {
        let chosen = pairs.iter().map(|pair| &pair.chosen[..]);
        let rejected = pairs.iter().map(|pair| &pair.rejected[..]);
        let (ids, lengths) = right_pad(&chosen.chain(rejected).collect::<Vec<_>>(), device)?;
        Ok(Self { ids, lengths })
    }

    /// P
    pub fn n_pairs(&self) -> usize {
        self.lengths.len() / 2
    }

    /// How many tokens are read that are no padding.
    pub fn n_tokens(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// The scores of the chosen and of the rejected responses, (P) each, from one pass.
    ///
    /// # Errors
    /// When a text is longer than the model's context.
    pub fn rewards(&self, model: &RewardModel) -> candle_core::Result<[Tensor; 2]> {
        let (scores, n) = (model.rewards(&self.ids, &self.lengths)?, self.n_pairs()); // (2P)
        Ok([scores.narrow(0, 0, n)?, scores.narrow(0, n, n)?])
    }
}
