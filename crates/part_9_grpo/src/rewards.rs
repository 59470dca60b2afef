//! Rewards that can be checked: plain functions of what was asked, what was said, and what is right.
//!
//! A reward is all that the model learns from, so it learns whatever the reward lets pass. Three policies that know nothing
//! (one that always says the same, one that draws at random, one that only picks a length) must earn next to nothing from
//! each: the tests let them try. The one that they can earn from is `format`, which is why it is worth less than an answer.

use ppo::final_answer::{final_answer, marked_answer};
use ppo::numbers::{last_integer, numbers, same, single_number};

use crate::answers::tagged;

/// What `completion` earns as a reply to `prompt`, whose right answer is `answer`.
pub type Reward = fn(prompt: &str, completion: &str, answer: &str) -> f32;

/// The rewards that a program knows by name, and what they are.
pub const REWARDS: [(&str, Reward, &str); 8] = [
    ("exact", exact, "1 for the answer and nothing else"),
    ("integer", integer, "1 if the last number is the answer, a whole number"),
    ("gsm8k", gsm8k, "1 if the number after #### is the answer"),
    ("gsm8k-flexible", gsm8k_flexible, "the same, or the last number where there is no ####"),
    ("correctness", correctness, "what stands in <answer>: 2 for the answer, 1.5 for its value"),
    ("format", format, "0.2 for each of the four tags that stands once and in its place"),
    (
        "countdown",
        crate::countdown::reward,
        "1 if the expression uses the numbers and hits the target",
    ),
    ("length", length, "−0.01 for each word"),
];

/// 1 for the answer and nothing else but spaces around it.
pub fn exact(_prompt: &str, completion: &str, answer: &str) -> f32 {
    one_if(completion.trim() == answer.trim())
}

/// 1 if the last number of the completion is that of the answer, a whole one.
pub fn integer(_prompt: &str, completion: &str, answer: &str) -> f32 {
    one_if(matches!((last_integer(completion), last_integer(answer)), (Some(a), Some(b)) if a == b))
}

/// 1 if the number after `####` is the answer's.
pub fn gsm8k(_prompt: &str, completion: &str, answer: &str) -> f32 {
    one_if(agree(marked_answer(completion), final_answer(answer)))
}

/// The same where a completion without `####` answers with its last number.
pub fn gsm8k_flexible(_prompt: &str, completion: &str, answer: &str) -> f32 {
    one_if(agree(final_answer(completion), final_answer(answer)))
}

/// 2 if `<answer>` holds the answer, 1.5 if it holds one number and that is the answer's.
pub fn correctness(_prompt: &str, completion: &str, answer: &str) -> f32 {
    let Some(said) = tagged(completion) else { return 0. };
    if !said.is_empty() && said == answer.trim() {
        2.
    } else if agree(single_number(said), single_number(answer)) {
        1.5
    } else {
        0.
    }
}

/// 0.2 for each of `<reasoning>`, `</reasoning>`, `<answer>` and `</answer>` that occurs once, and after those before it.
pub fn format(_prompt: &str, completion: &str, _answer: &str) -> f32 {
    let mut reward = 0.;
    let mut last = None;
    for tag in ["<reasoning>", "</reasoning>", "<answer>", "</answer>"] {
        let mut places = completion.match_indices(tag).map(|(at, _)| at);
        if let (Some(at), None) = (places.next(), places.next())
            && last.is_none_or(|last| at > last)
        {
            reward += 0.2;
            last = Some(at);
        }
    }
    reward
}

/// −0.01 for each word: to be weighed against being right.
pub fn length(_prompt: &str, completion: &str, _answer: &str) -> f32 {
    -0.01 * completion.split_whitespace().count() as f32
}

/// Whether an answer can be graded: whether it is, or holds, what the rewards look for.
pub fn is_gradable(answer: &str) -> bool {
    !answer.trim().is_empty() && !numbers(answer).is_empty()
}

fn agree(a: Option<f64>, b: Option<f64>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if same(a, b))
}

fn one_if(right: bool) -> f32 {
    f32::from(u8::from(right))
}
