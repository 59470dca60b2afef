//! The tokenizer that a file describes, as its parts.

use anyhow::Result;

use crate::GgufTokenizer;
use crate::gguf::Gguf;

/// Reads `tokenizer.ggml.*`.
///
/// # Errors
/// When a list is missing or of the wrong type.
pub fn tokenizer(file: &Gguf) -> Result<GgufTokenizer> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let numbers = |name: &str| -> Result<Vec<f64>> {
        Ok(file.optional(&key(name), Gguf::numbers)?.unwrap_or_default())
    };
    let id = |name: &str| -> Result<Option<u32>> {
        let id = file.optional(&key(name), Gguf::size)?;
        Ok(id.map(u32::try_from).transpose()?)
    };
    let flag = |name: &str| file.optional(&key(name), Gguf::boolean);
    let tokens = file.strings(&key("tokens"))?.to_vec();
    let known = |id: &u32| (*id as usize) < tokens.len(); // converters wrote any number where a model has no such token
    Ok(GgufTokenizer {
        model: file.string(&key("model"))?.to_string(),
        pre: file.optional(&key("pre"), Gguf::string)?.map(str::to_string),
        merges: file.optional(&key("merges"), Gguf::strings)?.unwrap_or_default().to_vec(),
        scores: numbers("scores")?.into_iter().map(|score| score as f32).collect(),
        token_type: numbers("token_type")?.into_iter().map(|kind| kind as i32).collect(),
        bos: id("bos_token_id")?,
        eos: id("eos_token_id")?,
        unk: id("unknown_token_id")?.filter(known),
        pad: id("padding_token_id")?.filter(known),
        add_bos: flag("add_bos_token")?,
        add_space_prefix: flag("add_space_prefix")?,
        tokens,
    })
}
