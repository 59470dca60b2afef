//! How a looked-up value is written: articles, capital letters, numbers in
//! digits or in words. Kept apart from the drawing so that neither hides the other.

use anyhow::{Context, Result};

use super::grammar::Grammar;
use super::validate::NUMBER_RULE;

/// `words` with a capital (`^`), an article (`a`) or both (`A`).
pub(crate) fn styled(style: &str, words: &str) -> String {
    match style {
        "^" => capital(words),
        "a" => article(words),
        "A" => capital(&article(words)),
        _ => words.to_owned(),
    }
}

/// The number in digits, or by field: `word` in words, `count` counted up to in
/// digits, `words` counted up to in words.
pub(crate) fn number_text(grammar: &Grammar, number: usize, field: &str) -> Result<String> {
    let word = |number: usize| -> Result<String> {
        let row = grammar.rule(NUMBER_RULE)?.rows.get(number);
        let (_, cells) = row.with_context(|| format!("no word for {number}"))?;
        // The words for numbers are plain text: a reference would have no place.
        Ok(cells.iter().flatten().map(|part| part.plain()).collect())
    };
    match field {
        "word" => word(number),
        "words" => Ok((1..=number).map(word).collect::<Result<Vec<_>>>()?.join(", ")),
        "count" => Ok((1..=number).map(|n| n.to_string()).collect::<Vec<_>>().join(", ")),
        _ => Ok(number.to_string()),
    }
}

/// `words` with its first letter in capitals, in scripts that have them.
pub(crate) fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn article(words: &str) -> String {
    // Spelling decides, not sound: the grammars avoid words like hour and unicorn.
    match words.starts_with(['a', 'e', 'i', 'o', 'u']) {
        true => format!("an {words}"),
        false => format!("a {words}"),
    }
}
