//! `merges.txt`, GPT-2's own file of a tokenizer: a merge a line, best first, its two tokens in letters that stand for
//! bytes (`Ġ` is the space).

use std::collections::HashMap;

use anyhow::{Context, Result};
use tiny_gpt::tokenizer::byte_to_unicode;

use crate::Bpe;

impl Bpe {
    /// The tokenizer whose merges these are: the bytes, the merges, and behind them the `special` tokens, as GPT-2 has them.
    ///
    /// # Errors
    /// When a line is no pair of tokens.
    pub fn from_merges(file: &str, special: &[&str]) -> Result<Self> {
        let mut bpe = Self::byte_level(&[]);
        let mut ids: HashMap<String, u32> =
            (0..256).map(|id| (bpe.id_to_token(id).unwrap_or_default(), id)).collect();
        for (at, line) in file.lines().enumerate() {
            if line.is_empty() || at == 0 && line.starts_with("#version") {
                continue;
            }
            let known = |(a, b)| Some((*ids.get(a)?, *ids.get(b)?));
            let pair = line.split_once(' ').and_then(known);
            let pair =
                pair.with_context(|| format!("line {}: `{line}` is no pair of tokens", at + 1))?;
            let token = bpe.add_merge(pair);
            ids.insert(line.replace(' ', ""), token);
        }
        for name in special {
            bpe.add_special(name);
        }
        Ok(bpe)
    }

    /// Token `id` in letters, one for each byte.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        Some(self.id_to_bytes(id)?.iter().map(|&byte| byte_to_unicode(byte)).collect())
    }

    /// The merges as the file has them.
    pub fn to_merges(&self) -> String {
        let letters = |id| self.id_to_token(id).unwrap_or_default();
        let line = |(a, b)| format!("{} {}\n", letters(a), letters(b));
        self.merges().into_iter().map(line).collect()
    }
}
