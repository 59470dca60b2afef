//! 4.1 `merges.txt`, the tokenizer file of GPT-2: one merge per line, first learned first, with
//! bytes written as printable characters (`Ġ` is the space).

use std::collections::HashMap;

use anyhow::{Context, Result};
use tiny_gpt::tokenizer::byte_to_unicode;

use crate::Bpe;

impl Bpe {
    /// Tokenizer from the text of a merges file. Ids are in GPT-2's order: bytes, merges, `special`
    /// tokens.
    ///
    /// # Errors
    /// When a line is not a pair of known tokens.
    pub fn from_merges(file: &str, special: &[&str]) -> Result<Self> {
        let mut bpe = Self::byte_level(&[]);
        let mut ids: HashMap<String, u32> =
            (0..256).map(|id| (bpe.id_to_token(id).unwrap_or_default(), id)).collect();
        for (at, line) in file.lines().enumerate() {
            if line.is_empty() || at == 0 && line.starts_with("#version") {
                continue;
            }
            let pair_ids = |(a, b)| Some((*ids.get(a)?, *ids.get(b)?));
            let pair = line.split_once(' ').and_then(pair_ids).with_context(|| {
                format!("line {}: `{line}` is not a pair of known tokens", at + 1)
            })?;
            let token = bpe.add_merge(pair);
            ids.insert(line.replace(' ', ""), token);
        }
        for name in special {
            bpe.add_special(name);
        }
        Ok(bpe)
    }

    /// Token `id` as printable characters, one per byte.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        Some(self.id_to_bytes(id)?.iter().map(|&byte| byte_to_unicode(byte)).collect())
    }

    /// Text of the merges file.
    pub fn to_merges(&self) -> String {
        let token = |id| self.id_to_token(id).unwrap_or_default();
        let line = |(a, b)| format!("{} {}\n", token(a), token(b));
        self.merges().into_iter().map(line).collect()
    }
}
