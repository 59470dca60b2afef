//! Model of a run as a folder that part 3 and transformers load. In training every document follows
//! the end-of-text token of the previous one, so that token is saved as bos too.

use std::path::Path;

use anyhow::Result;
use model_io::Tokenizer;
use model_io::model_folder::SpecialTokenIds;

use crate::PretrainState;

/// Saves the model of `run` and its tokenizer in `folder`.
///
/// # Errors
/// When a file cannot be written.
pub fn save(folder: &Path, run: &PretrainState, tokenizer: &Tokenizer) -> Result<()> {
    tokenizer.save(folder, run.config.context_len, None)?;
    let eos = tokenizer.eos();
    let special_ids = SpecialTokenIds { bos: eos, eos: eos.into_iter().collect() };
    model_io::model_folder::save(folder, &run.config, &run.parameters, &special_ids, None)
}
