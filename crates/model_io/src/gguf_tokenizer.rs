//! The tokenizer of a GGUF file: its tokens and merges, and the ids of special tokens.

use anyhow::Result;

use crate::SpecialTokenIds;
use crate::gguf::Gguf;

/// Metadata `tokenizer.ggml.*` of a GGUF file, under the same names.
#[derive(Debug, Clone, Default)]
pub struct GgufTokenizer {
    /// `gpt2` (byte-level BPE) or `llama` (sentencepiece).
    pub model: String,
    /// Name of the pre-tokenizer; `None` means `default`.
    pub pre: Option<String>,
    /// Vocabulary in the order of the ids.
    pub tokens: Vec<String>,
    /// Merges as `left right`, best first; in a `llama` file they may be missing and follow from
    /// `scores`.
    pub merges: Vec<String>,
    /// Score of each token (higher scores merge first); only in `llama` files.
    pub scores: Vec<f32>,
    /// Type of each token: [`NORMAL`], [`UNKNOWN`], [`CONTROL`], [`USER_DEFINED`] or another
    /// number. Empty means all normal.
    pub token_type: Vec<i32>,
    /// Token that begins a text.
    pub bos: Option<u32>,
    /// Token that ends a text.
    pub eos: Option<u32>,
    /// Token of unknown text.
    pub unk: Option<u32>,
    /// Padding token.
    pub pad: Option<u32>,
    /// True if `bos` is put before a text; `None` means the family's default.
    pub add_bos: Option<bool>,
    /// True if `eos` is put after a text; `None` means false.
    pub add_eos: Option<bool>,
    /// True if a `llama` text gets a leading space; `None` means true.
    pub add_space_prefix: Option<bool>,
}

/// Value of `token_type` for ordinary tokens.
pub const NORMAL: i32 = 1;
/// Value of `token_type` for `<unk>`.
pub const UNKNOWN: i32 = 2;
/// Value of `token_type` for special tokens such as `<|im_end|>`.
pub const CONTROL: i32 = 3;
/// Value of `token_type` for added tokens that are decoded as text, such as `<think>`.
pub const USER_DEFINED: i32 = 4;

impl GgufTokenizer {
    /// Reads `tokenizer.ggml.*`.
    ///
    /// # Errors
    /// When a list is missing or of the wrong type.
    pub fn read(file: &Gguf) -> Result<Self> {
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        let numbers = |name: &str| -> Result<&[f64]> {
            Ok(file.get_optional(&key(name), Gguf::get_f64s)?.unwrap_or_default())
        };
        let id = |name: &str| token_id(file, name);
        let flag = |name: &str| file.get_optional(&key(name), Gguf::get_bool);
        let tokens = file.get_strings(&key("tokens"))?.to_vec();
        // Converters write arbitrary ids if a model has no such token.
        let in_vocab = |id: &u32| (*id as usize) < tokens.len();
        Ok(Self {
            model: file.get_str(&key("model"))?.to_string(),
            pre: file.get_optional(&key("pre"), Gguf::get_str)?.map(str::to_string),
            merges: file
                .get_optional(&key("merges"), Gguf::get_strings)?
                .unwrap_or_default()
                .to_vec(),
            scores: numbers("scores")?.iter().map(|&score| score as f32).collect(),
            token_type: numbers("token_type")?.iter().map(|&kind| kind as i32).collect(),
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
}

/// Token that ends a turn of Gemma's chats. Its files do not name it as `eot_token_id`; llama.cpp,
/// too, finds it by its text.
const END_OF_TURN: &str = "<end_of_turn>";

/// Ids of the tokens that end a text (`eos`), a turn (`eot`) or a message (`eom`), and of bos.
///
/// # Errors
/// When an id is not an integer.
pub(crate) fn read_special_token_ids(file: &Gguf) -> Result<SpecialTokenIds> {
    let mut eos = Vec::new();
    for name in ["eos_token_id", "eot_token_id", "eom_token_id"] {
        eos.extend(token_id(file, name)?.filter(|id| !eos.contains(id)));
    }
    let tokens = file.get_optional("tokenizer.ggml.tokens", Gguf::get_strings)?;
    let end_of_turn = tokens.unwrap_or_default().iter().position(|token| token == END_OF_TURN);
    let end_of_turn = end_of_turn.map(u32::try_from).transpose()?;
    eos.extend(end_of_turn.filter(|id| !eos.contains(id)));
    Ok(SpecialTokenIds { bos: token_id(file, "bos_token_id")?, eos })
}

fn token_id(file: &Gguf, name: &str) -> Result<Option<u32>> {
    let id = file.get_optional(&format!("tokenizer.ggml.{name}"), Gguf::get_usize)?;
    Ok(id.map(u32::try_from).transpose()?)
}
