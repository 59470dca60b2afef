//! Answers in a text: after `####` as in GSM8K (Cobbe et al., <https://arxiv.org/abs/2110.14168>),
//! between `<answer>` tags, or the last number.
//!
//! In a text without `####` the last number is the final answer. A marked answer that is not a
//! number counts as no answer.

use std::sync::LazyLock;

use regex::Regex;

use crate::numbers::{last_number, single_number};

/// Text after the mark: a word, perhaps with a separate currency sign, and thousands separated by
/// spaces.
static MARKED_ANSWER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"####[ \t]*((?:[$€£][ \t]*)?[^\s#]+(?: [0-9]{3}\b)*)")
        .expect("the pattern is valid")
});

/// Number directly after `####`; `None` if the text there is not a number.
///
/// # Examples
/// ```
/// use datasets::answers::answer_after_marker;
/// assert_eq!(answer_after_marker("9 * 2 = 18, so\n#### $18."), Some(18.));
/// assert_eq!(answer_after_marker("so it is 18"), None);
/// ```
pub fn answer_after_marker(text: &str) -> Option<f64> {
    let [marked] = MARKED_ANSWER.captures(text)?.extract().1;
    single_number(&marked.replace(' ', ""))
}

/// Final answer of a text: the number after `####`, else the last number.
pub fn final_answer(text: &str) -> Option<f64> {
    if text.contains("####") { answer_after_marker(text) } else { last_number(text) }
}

/// Answer of a GSM8K solution: the text after the first `####`, trimmed.
pub fn extract_gsm8k_answer(text: &str) -> Option<&str> {
    text.split_once("####").map(|(_, answer)| answer.trim())
}

/// Text between the last `<answer>` and the `</answer>` after it, trimmed; `None` for the `...` of
/// a prompt's example.
pub fn extract_answer_tag(text: &str) -> Option<&str> {
    let (_, after) = text.rsplit_once("<answer>")?;
    let (answer, _) = after.split_once("</answer>")?;
    Some(answer.trim()).filter(|answer| *answer != "...")
}
