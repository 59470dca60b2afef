//! 8.5 Final-answer reward: a rule that compares the answer of a completion with the right one.
//!
//! Texts that reason end with `#### 42`, as GSM8K's do; `datasets::answers` reads it.

use datasets::answers::final_answer;
use datasets::numbers::approx_equal;

/// Reward of `text`: 1 if its final answer is that of `right`, `format_reward` for a wrong number,
/// 0 without an answer.
pub fn final_answer_reward(text: &str, right: &str, format_reward: f64) -> f64 {
    match (final_answer(text), final_answer(right)) {
        (Some(answer), Some(right)) if approx_equal(answer, right) => 1.,
        (Some(_), _) => format_reward,
        (None, _) => 0.,
    }
}
