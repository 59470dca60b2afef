//! 6.2 Loss mask as text: the tokens of an example, with marks under those in the loss.

use anyhow::Result;
use model_io::{SkipSpecialTokens, Tokenizer};

use crate::TokenizedExample;

/// Tokens of an example, separated by `|`, with `^` under those in the loss. A token that is only a
/// part of a character is shown as its id.
///
/// # Errors
/// When the tokenizer's decoder fails.
pub fn render_loss_mask(example: &TokenizedExample, tokenizer: &Tokenizer) -> Result<String> {
    let (mut line, mut marks, mut text) = (String::new(), String::new(), String::new());
    for (position, &id) in example.ids.iter().enumerate() {
        let token = tokenizer.decode(&[id], SkipSpecialTokens::No)?.replace('\n', "⏎");
        let is_partial = token.contains(char::REPLACEMENT_CHARACTER); // some bytes of a character
        let token = if is_partial { format!("<{id}>") } else { token };
        let width = token.chars().count();
        if line.chars().count() + width > 100 {
            flush_line(&mut text, &mut line, &mut marks);
        }
        line.extend([token.as_str(), "|"]);
        let mark = if position < example.prompt_len { " " } else { "^" };
        marks.extend([&mark.repeat(width), " "]);
    }
    flush_line(&mut text, &mut line, &mut marks);
    Ok(text.trim_end().to_string())
}

/// Appends a line to the text, and the line of its marks if there are any.
fn flush_line(text: &mut String, line: &mut String, marks: &mut String) {
    text.extend(["  ", line.as_str(), "\n"]);
    if marks.contains('^') {
        text.extend(["  ", marks.trim_end(), "\n"]);
    }
    line.clear();
    marks.clear();
}
