//! 4.1 Where a text is cut before its bytes are merged: no token reaches from one word into the next, or `dog.` and `dog!`
//! would each be learned anew.
//!
//! `It's 3 o'clock.` → `It` `'s` ` 3` ` o` `'` `clock` `.`   A word takes the space before it along.

use std::sync::LazyLock;

use regex::Regex;

/// English endings, words, numbers, signs, spaces: GPT-2's pattern, but for its `\s+(?!\S)`, which [`pieces`] does by hand.
const PRETOKEN_PATTERN: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";

/// `text` in GPT-2's pieces, which together are the text.
pub fn pretokens(text: &str) -> impl Iterator<Item = &str> {
    static REGEX: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(PRETOKEN_PATTERN).expect("a valid pattern"));
    let mut rest = text;
    std::iter::from_fn(move || {
        let found = REGEX.find(rest)?.as_str(); // where `rest` begins, as every character is of some class
        let last = found.chars().next_back()?;
        let before_last = found.len() - last.len_utf8();
        // Several spaces before a word leave their last to it.
        let leaves_last = last.is_whitespace() && before_last > 0 && found.len() < rest.len();
        let (piece, after) = rest.split_at(if leaves_last { before_last } else { found.len() });
        rest = after;
        Some(piece)
    })
}
