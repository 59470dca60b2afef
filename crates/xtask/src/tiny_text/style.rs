//! Spelling of a looked-up value: articles, capital letters, numbers in digits or in words.

use anyhow::{Context, Result};

use super::grammar::Grammar;
use super::validate::NUMBER_RULE;

/// Text of `words` with a capital (`^`), an article (`a`) or both (`A`).
pub(crate) fn styled(style: &str, words: &str) -> String {
    match style {
        "^" => capital(words),
        "a" => article(words),
        "A" => capital(&article(words)),
        _ => words.to_owned(),
    }
}

/// Text of a number, by field: the number in digits (no field) or in words (`word`), or all numbers
/// from 1 to it in digits (`count`) or in words (`words`).
pub(crate) fn number_text(grammar: &Grammar, number: usize, field: &str) -> Result<String> {
    let word = |number: usize| -> Result<String> {
        let row = grammar.rule(NUMBER_RULE)?.rows.get(number);
        let (_, cells) = row.with_context(|| format!("no word for {number}"))?;
        // The words for numbers are literal text; references are not supported here.
        Ok(cells.iter().flatten().map(|part| part.plain()).collect())
    };
    match field {
        "word" => word(number),
        "words" => Ok((1..=number).map(word).collect::<Result<Vec<_>>>()?.join(", ")),
        "count" => Ok((1..=number).map(|n| n.to_string()).collect::<Vec<_>>().join(", ")),
        _ => Ok(number.to_string()),
    }
}

/// Text of `words` with a capital first letter, in scripts that have capitals.
pub(crate) fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn article(words: &str) -> String {
    // By spelling, not by sound: the grammars avoid words such as hour and unicorn.
    match words.starts_with(['a', 'e', 'i', 'o', 'u']) {
        true => format!("an {words}"),
        false => format!("a {words}"),
    }
}
