//! Numbers in a text, parsed for grading.
//!
//! A number is what a reader would call one: `1,000` is one thousand, `4.5` does not contain 5,
//! `12-7` contains 12 and 7 but not −7, `$1,234.00`, `42 %` and `42km` have units, `12a` and `3/4`
//! are not numbers, and the point of `It is 42.` ends the sentence. Each of these cases is graded
//! wrongly by some published grader.

use std::sync::LazyLock;

use regex::Regex;

static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"^(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$",
    )
    .expect("the pattern is valid")
});

/// Values of all numbers in `text`, in order.
pub fn parse_numbers(text: &str) -> Vec<f64> {
    number_strings(text).iter().filter_map(|number| parse_finite(number)).collect()
}

/// Numbers of `text` as typed into a calculator: `-78910.5` for `-$78,910.5`.
pub fn number_strings(text: &str) -> Vec<String> {
    number_candidates(text).into_iter().flatten().collect()
}

/// Words of `text` that start like a number: the number as typed, or `None` if it is not one
/// (`12a`, `3/4`).
fn number_candidates(text: &str) -> Vec<Option<String>> {
    let mut numbers = Vec::new();
    let mut from = 0;
    while let Some(start) = text[from..].find(is_word_char).map(|at| from + at) {
        let end = text[start..].find(|c| !is_word_char(c)).map_or(text.len(), |len| start + len);
        let end = exponent_end(text, start, end);
        let word = strip_unit(text[start..end].trim_end_matches(['.', ',']));
        if word.contains(',') && !NUMBER.is_match(word) {
            let list = word.split(',').filter(|word| NUMBER.is_match(word)); // without spaces
            numbers.extend(list.map(|word| Some(word.to_string())));
        } else if NUMBER.is_match(word) {
            let sign = if is_negative(&text[..start]) { "-" } else { "" };
            numbers.push(Some(format!("{sign}{}", word.replace(',', ""))));
        } else if word.starts_with(|c: char| c.is_ascii_digit()) {
            numbers.push(None);
        }
        from = end;
    }
    numbers
}

fn parse_finite(number: &str) -> Option<f64> {
    number.parse().ok().filter(|value: &f64| value.is_finite()) // 1e999 would equal everything
}

/// Number of a text that contains exactly one.
pub fn single_number(text: &str) -> Option<f64> {
    let all = parse_numbers(text);
    (all.len() == 1).then(|| all[0])
}

/// Last number of a text; `None` if the last word that starts like a number is not one, because an
/// earlier number answers another question.
pub fn last_number(text: &str) -> Option<f64> {
    parse_finite(&number_candidates(text).pop()??)
}

/// Last number of a text if it is an integer.
pub fn last_integer(text: &str) -> Option<i64> {
    let last = last_number(text)?;
    let exact = last.fract() == 0. && last.abs() < 2f64.powi(53);
    exact.then_some(last as i64)
}

/// Whether two numbers are equal up to rounding of their digits.
pub fn approx_equal(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

/// Whether `c` can be part of a number or of a unit attached to it.
fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | ',' | '_' | '/')
}

/// Number without the unit attached to it, as in `42km`. A single letter is a name rather than a
/// unit: `12a`.
fn strip_unit(word: &str) -> &str {
    let number = word.trim_end_matches(char::is_alphabetic);
    let unit = word.len() > number.len() + 1;
    if unit && NUMBER.is_match(number) { number } else { word }
}

/// End of the word of `text` at `start..end`, extended over an exponent as in `1e-3`.
fn exponent_end(text: &str, start: usize, end: usize) -> usize {
    let rest = &text[end..];
    let mantissa = text[start..end].strip_suffix(['e', 'E']);
    let is_mantissa = mantissa.is_some_and(|word| NUMBER.is_match(word));
    let digits = rest
        .strip_prefix(['+', '-'])
        .map_or(0, |rest| rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
    if is_mantissa && digits > 0 { end + 1 + digits } else { end }
}

/// Whether the text `before` a number makes it negative: a minus sign, perhaps followed by a
/// currency sign, that does not subtract from a number or bracket before it.
fn is_negative(before: &str) -> bool {
    let before = before.strip_suffix(['$', '€', '£']).unwrap_or(before);
    let Some(before) = before.strip_suffix(['-', '−']) else { return false };
    !before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, ')' | ']' | '}' | '%' | '-'))
}
