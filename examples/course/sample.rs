//! Sample texts of a stage for the report: generated text, or the tokens of a text and which of
//! them are in the loss.

use std::path::Path;

use anyhow::Result;
use model_io::{AddSpecialTokens, ParseSpecial, SkipSpecialTokens, Tokenizer};
use serde::{Deserialize, Serialize};
use sft::TokenizedExample;
use tensor_core::json_file;

const FILE: &str = "samples.json";

/// A text of the report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TextSample {
    pub(crate) text: String,
    /// Tokens of the text; empty if the report shows plain text.
    pub(crate) tokens: Vec<SampleToken>,
}

/// Text of one token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SampleToken {
    pub(crate) text: String,
    /// True if the token is a target of the loss.
    #[serde(alias = "learned")]
    pub(crate) in_loss: bool,
}

impl TextSample {
    /// Plain text.
    pub(crate) fn from_text(text: String) -> Self {
        Self { text, tokens: Vec::new() }
    }

    /// Token ids of `text`, and the sample that shows its tokens.
    pub(crate) fn tokenize(text: &str, tokenizer: &Tokenizer) -> Result<(Vec<u32>, Self)> {
        let ids = tokenizer.encode(text, AddSpecialTokens::No, ParseSpecial::No)?;
        let untrained = TokenizedExample { ids, target_spans: Vec::new() };
        let tokens = decode_tokens(&untrained, tokenizer)?;
        Ok((untrained.ids, Self { text: text.into(), tokens }))
    }

    /// Tokens of a training example; its targets are in the loss.
    pub(crate) fn from_example(example: &TokenizedExample, tokenizer: &Tokenizer) -> Result<Self> {
        let tokens = decode_tokens(example, tokenizer)?;
        Ok(Self { text: tokens.iter().map(|token| token.text.as_str()).collect(), tokens })
    }

    /// Text of each token.
    pub(crate) fn token_texts(&self) -> Vec<String> {
        self.tokens.iter().map(|token| token.text.clone()).collect()
    }
}

/// Decodes each token of `example`.
fn decode_tokens(example: &TokenizedExample, tokenizer: &Tokenizer) -> Result<Vec<SampleToken>> {
    let token = |(i, &id): (usize, &u32)| {
        Ok(SampleToken {
            text: tokenizer.decode(&[id], SkipSpecialTokens::No)?,
            in_loss: example.is_target(i),
        })
    };
    example.ids.iter().enumerate().map(token).collect()
}

/// Writes the samples of a stage to its folder.
pub(crate) fn save(folder: &Path, samples: &[TextSample]) -> Result<()> {
    json_file::write(&folder.join(FILE), &samples)
}

/// Samples of the stage in `folder`; empty if it has none.
pub(crate) fn open(folder: &Path) -> Result<Vec<TextSample>> {
    let samples = json_file::read_or_null(&folder.join(FILE))?;
    Ok(if samples.is_null() { Vec::new() } else { serde_json::from_value(samples)? })
}
