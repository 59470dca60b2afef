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
pub(crate) struct TextSample {
    pub(crate) text: String,
    /// What it is cut into, where that is to be shown.
    pub(crate) tokens: Vec<SampleToken>,
}

/// A piece of a text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SampleToken {
    pub(crate) text: String,
    /// Whether a model learns to say it.
    pub(crate) in_loss: bool,
}

impl TextSample {
    /// Just the text.
    pub(crate) fn from_text(text: String) -> Self {
        Self { text, tokens: Vec::new() }
    }

    /// `text`, cut.
    pub(crate) fn tokenize(text: &str, tokenizer: &Tokenizer) -> Result<(Vec<u32>, Self)> {
        let ids = tokenizer.encode(text, AddSpecialTokens::No, ParseSpecial::No)?;
        let tokens = decode_tokens(&ids, ids.len(), tokenizer)?;
        Ok((ids, Self { text: text.into(), tokens }))
    }

    /// What is learned from, cut.
    pub(crate) fn from_example(example: &TokenizedExample, tokenizer: &Tokenizer) -> Result<Self> {
        let tokens = decode_tokens(&example.ids, example.prompt_len, tokenizer)?;
        Ok(Self { text: tokens.iter().map(|token| token.text.as_str()).collect(), tokens })
    }

    /// The texts of its tokens.
    pub(crate) fn token_texts(&self) -> Vec<String> {
        self.tokens.iter().map(|token| token.text.clone()).collect()
    }
}

/// The tokens `ids`, of which those from `given` on are learned.
fn decode_tokens(ids: &[u32], given: usize, tokenizer: &Tokenizer) -> Result<Vec<SampleToken>> {
    let piece = |(at, &id): (usize, &u32)| {
        Ok(SampleToken {
            text: tokenizer.decode(&[id], SkipSpecialTokens::No)?,
            in_loss: at >= given,
        })
    };
    ids.iter().enumerate().map(piece).collect()
}

/// Keeps samples in the folder of a stage.
pub(crate) fn save(folder: &Path, samples: &[TextSample]) -> Result<()> {
    json_file::write(&folder.join(FILE), &samples)
}

/// Those that it keeps; none where it keeps none.
pub(crate) fn open(folder: &Path) -> Result<Vec<TextSample>> {
    let samples = json_file::read_or_null(&folder.join(FILE))?;
    Ok(if samples.is_null() { Vec::new() } else { serde_json::from_value(samples)? })
}
