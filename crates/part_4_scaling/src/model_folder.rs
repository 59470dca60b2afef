//! The model of a run as a folder that part 3 and transformers open. A text begins where another has ended, so the token
//! that ends a text is also the one before it.

use std::path::Path;

use anyhow::Result;
use modern::Tokenizer;
use modern::model_folder::SpecialTokenIds;

use crate::PretrainState;

/// Writes the model of `run`, with its tokenizer, into `folder`.
///
/// # Errors
/// When a file cannot be written.
pub fn save(folder: &Path, run: &PretrainState, tokenizer: &Tokenizer) -> Result<()> {
    tokenizer.save(folder, run.config.context_len, None)?;
    let ends = SpecialTokenIds { bos: tokenizer.eos(), eos: tokenizer.eos().into_iter().collect() };
    modern::model_folder::save(folder, &run.config, &run.parameters, &ends, None)
}
