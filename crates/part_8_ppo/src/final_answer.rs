//! 8.4 Final-answer reward: a rule that compares the answer of a completion with the right one.
//!
//! Texts that reason end with `#### 42`, as GSM8K's do (Cobbe et al.,
//! <https://arxiv.org/abs/2110.14168>). In a text without that mark the last number is the answer.
//! A marked answer that is not a number counts as no answer.

use std::sync::LazyLock;

use regex::Regex;

use crate::numbers::{approx_equal, last_number, single_number};

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
/// use ppo::final_answer::answer_after_marker;
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

/// Reward of `text`: 1 if its final answer is that of `right`, `format_reward` for a wrong number,
/// 0 without an answer.
pub fn final_answer_reward(text: &str, right: &str, format_reward: f64) -> f64 {
    match (final_answer(text), final_answer(right)) {
        (Some(answer), Some(right)) if approx_equal(answer, right) => 1.,
        (Some(_), _) => format_reward,
        (None, _) => 0.,
    }
}
