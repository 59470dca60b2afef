//! 4.1 Pre-tokenization: a text is split into words before merging, so that no token crosses a word
//! boundary. Otherwise `dog.` and `dog!` would each become a token of their own.
//!
//! `It's 3 o'clock.` → `It` `'s` ` 3` ` o` `'` `clock` `.`   The space belongs to the word after
//! it.

use std::sync::LazyLock;

use regex::Regex;

/// GPT-2's pattern: English endings, words, numbers, punctuation, white space. Its `\s+(?!\S)` is
/// implemented in [`pretokens`], because the crate `regex` does not support look-ahead.
const PRETOKEN_PATTERN: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";

/// Pre-tokens of `text` as in GPT-2. Concatenated they give the text.
pub fn pretokens(text: &str) -> impl Iterator<Item = &str> {
    static REGEX: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(PRETOKEN_PATTERN).expect("a valid pattern"));
    let mut rest = text;
    std::iter::from_fn(move || {
        let matched = REGEX.find(rest)?.as_str(); // at the start of `rest`: every character matches
        let last = matched.chars().next_back()?;
        let before_last = matched.len() - last.len_utf8();
        // The last of several spaces before a word belongs to the word.
        let leaves_last = last.is_whitespace() && before_last > 0 && matched.len() < rest.len();
        let (pretoken, after) =
            rest.split_at(if leaves_last { before_last } else { matched.len() });
        rest = after;
        Some(pretoken)
    })
}
