//! 8.4 The numbers in a text, as a grader has to read them.
//!
//! What counts is what a reader would call a number: `1,000` is one thousand, `4.5` is no 5, `12-7` holds 12 and 7 and no −7,
//! `$1,234.00`, `42 %` and `42km` have units, `12a` and `3/4` are no numbers at all, and the point of `It is 42.` ends the sentence.
//! Each of these was scored wrongly by a program that this part descends from, or by one that people use.

use std::sync::LazyLock;

use regex::Regex;

static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"^(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$",
    )
    .expect("it is an expression")
});

/// The values of all numbers in `text`, in order.
pub fn parse_numbers(text: &str) -> Vec<f64> {
    number_strings(text).iter().filter_map(|number| parse_finite(number)).collect()
}

/// The same as they would be typed into a calculator: `-78910.5` for `-$78,910.5`.
pub fn number_strings(text: &str) -> Vec<String> {
    number_candidates(text).into_iter().flatten().collect()
}

/// What in `text` looks like a number: as it would be typed, or nothing where it is none (`12a`, `3/4`).
fn number_candidates(text: &str) -> Vec<Option<String>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(start) = text[from..].find(is_word_char).map(|at| from + at) {
        let end = text[start..].find(|c| !is_word_char(c)).map_or(text.len(), |len| start + len);
        let end = exponent_end(text, start, end);
        let word = strip_unit(text[start..end].trim_end_matches(['.', ',']));
        if word.contains(',') && !NUMBER.is_match(word) {
            let list = word.split(',').filter(|word| NUMBER.is_match(word)); // without spaces
            found.extend(list.map(|word| Some(word.to_string())));
        } else if NUMBER.is_match(word) {
            let sign = if is_negative(&text[..start]) { "-" } else { "" };
            found.push(Some(format!("{sign}{}", word.replace(',', ""))));
        } else if word.starts_with(|c: char| c.is_ascii_digit()) {
            found.push(None);
        }
        from = end;
    }
    found
}

fn parse_finite(number: &str) -> Option<f64> {
    number.parse().ok().filter(|value: &f64| value.is_finite()) // 1e999 would agree with everything
}

/// The only number of a text that holds one.
pub fn single_number(text: &str) -> Option<f64> {
    let all = parse_numbers(text);
    (all.len() == 1).then(|| all[0])
}

/// The last number of a text. Where what looks like its last number is none, there is none: the one before it answers another question.
pub fn last_number(text: &str) -> Option<f64> {
    parse_finite(&number_candidates(text).pop()??)
}

/// The last number of a text, if it is whole.
pub fn last_integer(text: &str) -> Option<i64> {
    let last = last_number(text)?;
    let exact = last.fract() == 0. && last.abs() < 2f64.powi(53);
    exact.then_some(last as i64)
}

/// Whether two numbers are one: equal up to the rounding of their digits.
pub fn approx_equal(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

/// What a number and the units and mistakes glued to it are made of.
fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | ',' | '_' | '/')
}

/// A number without the letters of the unit that is glued to it, `42km`. A single letter is none, but a name or a mistake: `12a`.
fn strip_unit(word: &str) -> &str {
    let number = word.trim_end_matches(char::is_alphabetic);
    let unit = word.len() > number.len() + 1;
    if unit && NUMBER.is_match(number) { number } else { word }
}

/// Where the word of `text` that ends at `end` ends if it goes on as in `1e-3`.
fn exponent_end(text: &str, start: usize, end: usize) -> usize {
    let rest = &text[end..];
    let mantissa = text[start..end].strip_suffix(['e', 'E']);
    let is_mantissa = mantissa.is_some_and(|word| NUMBER.is_match(word));
    let digits = rest
        .strip_prefix(['+', '-'])
        .map_or(0, |rest| rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
    if is_mantissa && digits > 0 { end + 1 + digits } else { end }
}

/// Whether what stands `before` a number makes it negative: a minus, perhaps with a currency sign after it, that takes nothing
/// from a number or a bracket before it.
fn is_negative(before: &str) -> bool {
    let before = before.strip_suffix(['$', '€', '£']).unwrap_or(before);
    let Some(before) = before.strip_suffix(['-', '−']) else { return false };
    !before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, ')' | ']' | '}' | '%' | '-'))
}
