//! Where in a completion its answer stands.

use std::sync::LazyLock;

use regex::Regex;

use crate::numbers::{self, last_number};

static AFTER_HASHES: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"####[ \t]*([^\s#]+)").expect("it is an expression"));

/// GSM8K's final answer: the first number after `####`. Where that is no number, there is none.
///
/// # Examples
/// ```
/// use grpo::answers::strict;
/// assert_eq!(strict("9 * 2 = 18, so\n#### $18."), Some(18.));
/// assert_eq!(strict("so it is 18"), None);
/// ```
pub fn strict(text: &str) -> Option<f64> {
    let [after] = AFTER_HASHES.captures(text)?.extract().1;
    numbers::single_number(after)
}

/// The same; a text without `####` answers with its last number.
pub fn flexible(text: &str) -> Option<f64> {
    if text.contains("####") { strict(text) } else { last_number(text) }
}

/// What stands between the last `<answer>` and the `</answer>` after it, without spaces around it; the dots of the prompt's
/// example are none.
pub fn tagged(text: &str) -> Option<&str> {
    let (_, after) = text.rsplit_once("<answer>")?;
    let (answer, _) = after.split_once("</answer>")?;
    Some(answer.trim()).filter(|answer| *answer != "...")
}

/// What a data set's solution ends with: what follows the first `####`, without spaces around it.
pub fn of_solution(text: &str) -> Option<&str> {
    text.split_once("####").map(|(_, answer)| answer.trim())
}
