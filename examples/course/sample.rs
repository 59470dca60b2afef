//! Texts that a stage shows: what a model wrote, or how a text is cut into tokens, and which of them are learned.

use std::path::Path;

use anyhow::Result;
use modern::{AddSpecialTokens, ParseSpecial, SkipSpecialTokens, Tokenizer};
use serde::{Deserialize, Serialize};
use sft::TokenizedExample;
use tiny_gpt::json_file;

const FILE: &str = "samples.json";

/// A text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) text: String,
    /// What it is cut into, where that is to be shown.
    pub(crate) tokens: Vec<Token>,
}

/// A piece of a text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Token {
    pub(crate) text: String,
    /// Whether a model learns to say it.
    pub(crate) learned: bool,
}

impl Sample {
    /// Just the text.
    pub(crate) fn of(text: String) -> Self {
        Self { text, tokens: Vec::new() }
    }

    /// `text`, cut.
    pub(crate) fn cut(text: &str, tokenizer: &Tokenizer) -> Result<(Vec<u32>, Self)> {
        let ids = tokenizer.encode(text, AddSpecialTokens::No, ParseSpecial::No)?;
        let tokens = pieces(&ids, ids.len(), tokenizer)?;
        Ok((ids, Self { text: text.into(), tokens }))
    }

    /// What is learned from, cut.
    pub(crate) fn learned(example: &TokenizedExample, tokenizer: &Tokenizer) -> Result<Self> {
        let tokens = pieces(&example.ids, example.prompt_len, tokenizer)?;
        Ok(Self { text: tokens.iter().map(|token| token.text.as_str()).collect(), tokens })
    }

    /// The texts of its tokens.
    pub(crate) fn words(&self) -> Vec<String> {
        self.tokens.iter().map(|token| token.text.clone()).collect()
    }
}

/// The tokens `ids`, of which those from `given` on are learned.
fn pieces(ids: &[u32], given: usize, tokenizer: &Tokenizer) -> Result<Vec<Token>> {
    let piece = |(at, &id): (usize, &u32)| {
        Ok(Token { text: tokenizer.decode(&[id], SkipSpecialTokens::No)?, learned: at >= given })
    };
    ids.iter().enumerate().map(piece).collect()
}

/// Keeps samples in the folder of a stage.
pub(crate) fn save(folder: &Path, samples: &[Sample]) -> Result<()> {
    json_file::write(&folder.join(FILE), &samples)
}

/// Those that it keeps; none where it keeps none.
pub(crate) fn open(folder: &Path) -> Result<Vec<Sample>> {
    let samples = json_file::read_or_null(&folder.join(FILE))?;
    Ok(if samples.is_null() { Vec::new() } else { serde_json::from_value(samples)? })
}
