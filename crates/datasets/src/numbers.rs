//! Numbers in a text, parsed for grading.
//!
//! A number is what a reader would call one: `1,000` is one thousand, `4.5` does not contain 5,
//! `12-7` contains 12 and 7 but not −7, `$1,234.00`, `42 %` and `42km` have units, and the point of
//! `It is 42.` ends the sentence. Each of these cases is graded wrongly by some published grader.
//!
//! What starts like a number but is another one, or none, is read as *no number*: `12a`, `3/4`,
//! `½`, `５７`, `4^2`, `√9`, `\frac{3}{4}`, `10:30`. It must not be skipped: in `42 … no, ½` the last
//! number is not 42, and a policy that is paid for 42 learns to write both.
//!
//! Numbers of 2⁵³ and more are not read either, because f64 cannot tell whole ones apart.

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
    number_strings(text).iter().filter_map(|number| parse_exact(number)).collect()
}

/// Numbers of `text` as typed into a calculator: `-78910.5` for `-$78,910.5`.
pub fn number_strings(text: &str) -> Vec<String> {
    number_candidates(text).into_iter().flatten().collect()
}

/// Words of `text` that start like a number: the number as typed, or `None` if it is not one.
fn number_candidates(text: &str) -> Vec<Option<String>> {
    let mut numbers = Vec::new();
    let mut from = 0;
    while let Some(start) = text[from..].find(is_word_char).map(|at| from + at) {
        let end = text[start..].find(|c| !is_word_char(c)).map_or(text.len(), |len| start + len);
        let end = exponent_end(text, start, end);
        let word = strip_unit(text[start..end].trim_end_matches(['.', ',']));
        let before = &text[..start];
        if is_subscript_or_unit(before) {
            // Part of a name: x_{2}, m^2.
        } else if is_part_of_a_formula(before) && word.starts_with(char::is_numeric) {
            numbers.push(None);
        } else if word.contains(',') && !NUMBER.is_match(word) {
            let list = word.split(',').filter(|word| NUMBER.is_match(word)); // without spaces
            numbers.extend(list.map(|word| Some(word.to_string())));
        } else if NUMBER.is_match(word) {
            let sign = if is_negative(before) { "-" } else { "" };
            numbers.push(Some(format!("{sign}{}", word.replace(',', ""))));
        } else if word.starts_with(char::is_numeric) {
            numbers.push(None);
        }
        from = end;
    }
    numbers
}

/// Value of a number that f64 tells from its neighbours; 1e999 would be infinite.
fn parse_exact(number: &str) -> Option<f64> {
    number.parse().ok().filter(|value: &f64| value.abs() < 2f64.powi(53))
}

/// Number of a text that contains exactly one, and nothing else that starts like one.
pub fn single_number(text: &str) -> Option<f64> {
    let [number] = &number_candidates(text)[..] else { return None };
    parse_exact(number.as_ref()?)
}

/// Last number of a text; `None` if the last word that starts like a number is not one, because an
/// earlier number answers another question.
pub fn last_number(text: &str) -> Option<f64> {
    parse_exact(&number_candidates(text).pop()??)
}

/// Last number of a text if it is an integer.
pub fn last_integer(text: &str) -> Option<i64> {
    last_number(text).filter(|last| last.fract() == 0.).map(|last| last as i64)
}

/// Whether two numbers are equal up to rounding in the ninth decimal, or digit if they are below 1.
/// So whole numbers must be equal: 1,000,000,001 is not 1,000,000,000.
pub fn approx_equal(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).min(1.)
}

/// Whether `c` can be part of a number or of a unit attached to it, be it an accent or a space of
/// no width, which readers do not see.
fn is_word_char(c: char) -> bool {
    let invisible = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}');
    let accent = matches!(c, '\u{300}'..='\u{36f}' | '\u{20d0}'..='\u{20ff}');
    c.is_alphanumeric() || matches!(c, '.' | ',' | '_' | '/') || invisible || accent
}

/// Whether a number after the text `before` belongs to a name or unit: x_{2}, m^2.
fn is_subscript_or_unit(before: &str) -> bool {
    let name = before.strip_suffix('{').unwrap_or(before).strip_suffix(['^', '_']);
    name.is_some_and(|name| name.ends_with(char::is_alphabetic))
}

/// Whether a number after the text `before` is part of another one: 4^2, (3)^{2}, 10:30, √9,
/// \sqrt{9}, \frac{3}{4}.
fn is_part_of_a_formula(before: &str) -> bool {
    let outside = before.strip_suffix('{').unwrap_or(before);
    let operand = outside.strip_suffix(['^', ':']);
    operand.is_some_and(|operand| operand.ends_with(|c: char| c.is_numeric() || c == ')'))
        || outside.ends_with(['√', '∛', '∜', '}'])
        || ["\\sqrt", "\\frac"].iter().any(|command| outside.ends_with(command))
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

/// Whether the text `before` a number makes it negative: a minus sign or a hyphen or dash of its
/// width, perhaps followed by a currency sign, that does not subtract from a number or bracket
/// before it.
fn is_negative(before: &str) -> bool {
    let before = before.strip_suffix(['$', '€', '£']).unwrap_or(before);
    let minus = ['-', '−', '‐', '‑', '‒', '–', '﹣', '－'];
    let Some(before) = before.strip_suffix(minus) else { return false };
    !before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, ')' | ']' | '}' | '%' | '-'))
}
