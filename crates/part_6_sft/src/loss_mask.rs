//! 6.2 Seen: an example as the model reads it, and what of it is learned.

use anyhow::Result;
use modern::{SkipSpecialTokens, Tokenizer};

use crate::TokenizedExample;

/// The tokens of an example, cut by `|`, under those that are learned a line. Of a token that is no whole character stands its
/// number.
///
/// # Errors
/// When the tokenizer's decoder fails.
pub fn render_loss_mask(example: &TokenizedExample, tokenizer: &Tokenizer) -> Result<String> {
    let (mut line, mut marks, mut text) = (String::new(), String::new(), String::new());
    for (at, &id) in example.ids.iter().enumerate() {
        let token = tokenizer.decode(&[id], SkipSpecialTokens::No)?.replace('\n', "⏎");
        let piece = token.contains(char::REPLACEMENT_CHARACTER); // some bytes of a character
        let token = if piece { format!("<{id}>") } else { token };
        let width = token.chars().count();
        if line.chars().count() + width > 100 {
            push(&mut text, &mut line, &mut marks);
        }
        line.extend([token.as_str(), "|"]);
        let mark = if at < example.prompt_len { " " } else { "^" };
        marks.extend([&mark.repeat(width), " "]);
    }
    push(&mut text, &mut line, &mut marks);
    Ok(text.trim_end().to_string())
}

/// Ends a line, and that of its marks if there are any.
fn push(text: &mut String, line: &mut String, marks: &mut String) {
    text.extend(["  ", line.as_str(), "\n"]);
    if marks.contains('^') {
        text.extend(["  ", marks.trim_end(), "\n"]);
    }
    line.clear();
    marks.clear();
}
