//! Tokenized examples of a data set, cut to what a model can read.

use anyhow::{Result, ensure};
use datasets::Example;

use crate::{ChatTokenizer, TokenizedExample};

/// Tokenized examples, and the number of those that were too long.
#[derive(Debug, Clone, Default)]
pub struct TokenizedDataset {
    /// Examples with at least one target.
    pub examples: Vec<TokenizedExample>,
    /// Number of these examples with a truncated completion.
    pub n_truncated: usize,
    /// Number of skipped examples: their prompt is so long that no token of the completion fits.
    pub n_skipped: usize,
}

/// Inputs of examples of at most `max_length` tokens for a model with `context_len`. The last token
/// of an example is only a target.
pub fn max_inputs(context_len: usize, max_length: Option<usize>) -> usize {
    max_length.map_or(context_len, |len| context_len.min(len.saturating_sub(1)))
}

/// Tokenized `examples` of at most `context_len` inputs each. A text for continued pretraining,
/// which has no prompt, is cut into as many as it needs.
///
/// # Errors
/// Those of [`TokenizedExample::from_example`], and when a completion is empty.
pub fn tokenize(
    examples: &[Example],
    chat_tokenizer: &ChatTokenizer,
    context_len: usize,
) -> Result<TokenizedDataset> {
    let mut dataset = TokenizedDataset::default();
    for example in examples {
        if example.prompt.is_empty() {
            let ids = chat_tokenizer.encode_document(&example.completion)?;
            // The first token of an example is not a target, so it is the last of the one before.
            let starts = (0..ids.len() - 1).step_by(context_len);
            let windows = starts.map(|start| &ids[start..ids.len().min(start + context_len + 1)]);
            let windows = windows.map(|ids| TokenizedExample::for_pretraining(ids.to_vec()));
            dataset.examples.extend(windows);
            continue;
        }
        let prompt = example.prompt.last().map_or("", |message| &message.content);
        let has_reply = !example.completion.is_empty() || example.completion_message().calls_tool();
        ensure!(has_reply, "there is no completion to learn for {prompt:?}");
        for untruncated in TokenizedExample::from_example(example, chat_tokenizer)? {
            let len = untruncated.ids.len();
            let tokens = untruncated.truncated(context_len);
            if tokens.n_targets() == 0 {
                dataset.n_skipped += 1;
                continue;
            }
            dataset.n_truncated += usize::from(tokens.ids.len() < len);
            dataset.examples.push(tokens);
        }
    }
    Ok(dataset)
}
