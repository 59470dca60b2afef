//! 7.1 Tokenized preferences and their batches: chosen and rejected texts go through the model in
//! one forward pass.

use anyhow::Result;
use candle_core::{Device, Tensor};
use datasets::Preference;
use model_io::ChatMessage;
use sft::ChatTokenizer;

use crate::RewardModel;
use crate::checkpoint::{right_pad, tokenize_conversation, truncate_left};

/// Token ids of a conversation with each of its two completions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizedPair {
    /// Conversation with the chosen completion.
    pub chosen: Vec<u32>,
    /// Conversation with the rejected completion.
    pub rejected: Vec<u32>,
    /// Lengths of the texts of the chosen and the rejected completion in characters, which do not
    /// depend on the tokenizer.
    pub completion_chars: [usize; 2],
}

/// Tokenized preferences, and counts of those that exceed the context.
#[derive(Debug, Clone, Default)]
pub struct TokenizedPairs {
    /// Pairs whose two texts differ.
    pub pairs: Vec<TokenizedPair>,
    /// Number of these pairs that were truncated on the left.
    pub n_truncated: usize,
    /// Number of pairs dropped because truncation made their two texts identical.
    pub n_identical: usize,
}

/// Tokenizes `preferences`, truncated on the left to `context_len` tokens.
///
/// # Errors
/// When the chat template rejects a conversation.
pub fn tokenize_pairs(
    preferences: &[Preference],
    chat_tokenizer: &ChatTokenizer,
    context_len: usize,
) -> Result<TokenizedPairs> {
    let mut tokenized = TokenizedPairs::default();
    for preference in preferences {
        let Preference { prompt, chosen, rejected, .. } = preference;
        let completion_chars = [chosen, rejected].map(|completion| completion.chars().count());
        let tokenize = |reply: ChatMessage| tokenize_conversation(chat_tokenizer, prompt, &reply);
        let mut chosen = tokenize(preference.chosen_message())?;
        let mut rejected = tokenize(preference.rejected_message())?;
        let were_too_long = [&mut chosen, &mut rejected].map(|ids| truncate_left(ids, context_len));
        if chosen == rejected {
            tokenized.n_identical += 1;
            continue;
        }
        tokenized.n_truncated += usize::from(were_too_long.contains(&true));
        tokenized.pairs.push(TokenizedPair { chosen, rejected, completion_chars });
    }
    Ok(tokenized)
}

/// SHA-256 of the token ids of `pairs`. A checkpoint can only be resumed with the same data.
pub fn pairs_sha256<'a>(pairs: impl Iterator<Item = &'a TokenizedPair>) -> String {
    tensor_core::sha256::hash_token_sequences(pairs.flat_map(|pair| [&pair.chosen, &pair.rejected]))
}

/// Batch of P pairs.
#[derive(Debug, Clone)]
pub struct PairBatch {
    /// Token ids (2P, T): P rows with the chosen completions, then P with the rejected ones.
    pub ids: Tensor,
    /// Length of each row without padding.
    pub lengths: Vec<usize>,
}

impl PairBatch {
    /// Pads `pairs` to one batch.
    ///
    /// # Errors
    /// When memory is short.
    pub fn from_pairs(pairs: &[&TokenizedPair], device: &Device) -> Result<Self> {
        let chosen = pairs.iter().map(|pair| &pair.chosen[..]);
        let rejected = pairs.iter().map(|pair| &pair.rejected[..]);
        let (ids, lengths) = right_pad(&chosen.chain(rejected).collect::<Vec<_>>(), device)?;
        Ok(Self { ids, lengths })
    }

    /// Number of pairs, P.
    pub fn n_pairs(&self) -> usize {
        self.lengths.len() / 2
    }

    /// Number of tokens without padding.
    pub fn n_tokens(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// Rewards of the chosen and of the rejected completions, (P) each, from one forward pass.
    ///
    /// # Errors
    /// When a text is longer than the model's context.
    pub fn rewards(&self, model: &RewardModel) -> candle_core::Result<[Tensor; 2]> {
        let (rewards, p) = (model.rewards(&self.ids, &self.lengths)?, self.n_pairs()); // (2P)
        Ok([rewards.narrow(0, 0, p)?, rewards.narrow(0, p, p)?])
    }
}
