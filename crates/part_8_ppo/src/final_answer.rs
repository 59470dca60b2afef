//! 8.4 Scores by rule: is the answer right? No model can be talked into a wrong sum.
//!
//! Texts that reason end with `#### 42`, as GSM8K's do (Cobbe et al., <https://arxiv.org/abs/2110.14168>). Where nothing is marked
//! so, the last number counts. What is marked and is no number is no answer.

use std::sync::LazyLock;

use regex::Regex;

use crate::numbers::{approx_equal, last_number, single_number};

/// What follows the mark: a word, perhaps with its currency apart, and thousands set off by spaces.
static MARKED_ANSWER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"####[ \t]*((?:[$€£][ \t]*)?[^\s#]+(?: [0-9]{3}\b)*)").expect("it is an expression")
});

/// The first number after `####`. Where that is no number, there is none.
///
/// # Examples
/// ```
/// use ppo::final_answer::marked_answer;
/// assert_eq!(marked_answer("9 * 2 = 18, so\n#### $18."), Some(18.));
/// assert_eq!(marked_answer("so it is 18"), None);
/// ```
pub fn answer_after_marker(text: &str) -> Option<f64> {
    let [marked] = MARKED_ANSWER.captures(text)?.extract().1;
    single_number(&marked.replace(' ', ""))
}

/// The same; a text without `####` answers with its last number.
pub fn final_answer(text: &str) -> Option<f64> {
    if text.contains("####") { answer_after_marker(text) } else { last_number(text) }
}

/// 1 if the answer of `text` is that of `wanted`, else 0; `credit` where it is a wrong number, for its form.
pub fn final_answer_reward(text: &str, wanted: &str, credit: f64) -> f64 {
    match (final_answer(text), final_answer(wanted)) {
        (Some(found), Some(wanted)) if approx_equal(found, wanted) => 1.,
        (Some(_), _) => credit,
        (None, _) => 0.,
    }
}
