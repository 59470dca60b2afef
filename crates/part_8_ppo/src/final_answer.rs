//! 8.4 Scores by rule: is the answer right? No model can be talked into a wrong sum.
//!
//! Texts that reason end with `#### 42`, as GSM8K's do (Cobbe et al., <https://arxiv.org/abs/2110.14168>). Where nothing is marked
//! so, the last number counts. Numbers are read as people write them: `$1,234.50`, `-5`, `18.`, `1e3`, `50%`. What is marked and is
//! no number is no answer.

/// The number that a text says is its answer.
pub fn final_answer(text: &str) -> Option<f64> {
    match text.split_once("####") {
        Some((_, marked)) => number(marked.split_whitespace().next()?),
        None => text.split(|c: char| c.is_whitespace() || c == '=').rev().find_map(number),
    }
}

/// 1 if the answer of `text` is that of `wanted`, else 0; `credit` where it is a wrong number, for its form.
pub fn final_answer_score(text: &str, wanted: &str, credit: f64) -> f64 {
    match (final_answer(text), final_answer(wanted)) {
        (Some(found), Some(wanted)) if same(found, wanted) => 1.,
        (Some(_), _) => credit,
        (None, _) => 0.,
    }
}

/// Equal up to the rounding of decimal numbers.
fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

/// A word that is a number, with the signs that people put around one.
fn number(word: &str) -> Option<f64> {
    let word = word.trim_start_matches(['(', '"', '\'', '*']);
    let word = word.trim_end_matches(['.', ',', ';', ':', '!', '?', ')', '"', '\'', '*', '%']);
    let (sign, digits) = match word.strip_prefix(['-', '−']) {
        Some(rest) => (-1., rest),
        None => (1., word.strip_prefix('+').unwrap_or(word)),
    };
    let digits = digits.strip_prefix('$').unwrap_or(digits);
    let digits = ungrouped(digits)?;
    digits.starts_with(|c: char| c.is_ascii_digit() || c == '.').then_some(())?; // neither inf nor nan, nor a second sign
    let number: f64 = digits.parse().ok()?;
    number.is_finite().then_some(sign * number)
}

/// Without the commas between groups of three digits; nothing where commas stand elsewhere.
fn ungrouped(digits: &str) -> Option<String> {
    if !digits.contains(',') {
        return Some(digits.to_string());
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut groups = whole.split(',');
    let first = groups.next()?;
    let fits = (1..=3).contains(&first.len()) && groups.all(|group| group.len() == 3);
    let point = if fraction.is_empty() { "" } else { "." };
    (fits && !fraction.contains(','))
        .then(|| format!("{}{point}{fraction}", whole.replace(',', "")))
}
