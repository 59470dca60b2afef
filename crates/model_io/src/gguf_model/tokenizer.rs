//! The tokenizer metadata of a GGUF file.

use anyhow::Result;

use crate::GgufTokenizer;
use crate::gguf::Gguf;
use crate::model_folder::SpecialTokenIds;

/// Reads `tokenizer.ggml.*`.
///
/// # Errors
/// When a list is missing or of the wrong type.
pub fn read_tokenizer(file: &Gguf) -> Result<GgufTokenizer> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let numbers = |name: &str| -> Result<Vec<f64>> {
        Ok(file.get_optional(&key(name), Gguf::get_f64s)?.unwrap_or_default())
    };
    let id = |name: &str| token_id(file, name);
    let flag = |name: &str| file.get_optional(&key(name), Gguf::get_bool);
    let tokens = file.get_strings(&key("tokens"))?.to_vec();
    // Converters write arbitrary ids if a model has no such token.
    let in_vocab = |id: &u32| (*id as usize) < tokens.len();
    Ok(GgufTokenizer {
        model: file.get_str(&key("model"))?.to_string(),
        pre: file.get_optional(&key("pre"), Gguf::get_str)?.map(str::to_string),
        merges: file.get_optional(&key("merges"), Gguf::get_strings)?.unwrap_or_default().to_vec(),
        scores: numbers("scores")?.into_iter().map(|score| score as f32).collect(),
        token_type: numbers("token_type")?.into_iter().map(|kind| kind as i32).collect(),
        bos: id("bos_token_id")?,
        eos: id("eos_token_id")?,
        unk: id("unknown_token_id")?.filter(in_vocab),
        pad: id("padding_token_id")?.filter(in_vocab),
        add_bos: flag("add_bos_token")?,
        add_eos: flag("add_eos_token")?,
        add_space_prefix: flag("add_space_prefix")?,
        tokens,
    })
}

/// Ids of the tokens that end a text (`eos`), a turn (`eot`) or a message (`eom`), and of bos.
///
/// # Errors
/// When an id is not an integer.
pub fn read_special_token_ids(file: &Gguf) -> Result<SpecialTokenIds> {
    let mut eos = Vec::new();
    for name in ["eos_token_id", "eot_token_id", "eom_token_id"] {
        eos.extend(token_id(file, name)?.filter(|id| !eos.contains(id)));
    }
    Ok(SpecialTokenIds { bos: token_id(file, "bos_token_id")?, eos })
}

fn token_id(file: &Gguf, name: &str) -> Result<Option<u32>> {
    let id = file.get_optional(&format!("tokenizer.ggml.{name}"), Gguf::get_usize)?;
    Ok(id.map(u32::try_from).transpose()?)
}
