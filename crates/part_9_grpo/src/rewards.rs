//! Rewards that can be checked: plain functions of what was asked, what was said and whether it was said to its end, and what is
//! right.
//!
//! A reward is all that the model learns from, so it learns whatever the reward lets pass. Three policies that know nothing
//! (one that always says the same, one that draws at random, one that only picks a length) must earn next to nothing from
//! each: the tests let them try. The one that they can earn from is `format`, which is why it is worth less than an answer.

use ppo::RewardInput;
use ppo::final_answer::{answer_after_marker, final_answer};
use ppo::numbers::{approx_equal, last_integer, single_number};
use ppo::reward_fn::exact_match_reward;

use crate::answers::extract_answer_tag;
use crate::countdown;

/// What a completion earns as a reply to its example's prompt, whose right answer is the example's response.
pub type RewardRule = fn(reply: &RewardInput<'_>) -> f32;

/// The rewards that a program knows by name, and what they are.
pub const REWARD_RULES: [(&str, RewardRule, &str); 8] = [
    ("exact", exact, "1 for the answer, nothing else, and the end"),
    ("integer", integer, "1 if the last number is the answer, a whole number"),
    ("gsm8k", gsm8k, "1 if the number after #### is the answer"),
    ("gsm8k-flexible", gsm8k_flexible, "the same, or the last number where there is no ####"),
    ("correctness", correctness, "what stands in <answer>: 2 for the answer, 1.5 for its value"),
    ("format", format, "0.2 for each of the four tags that stands once and in its place"),
    ("countdown", countdown::reward, "1 for an expression of the numbers that hits the target"),
    ("length", length, "−0.01 for each word"),
];

/// All of them, for a person who is to choose.
pub(crate) fn describe_reward_rules() -> String {
    let each = REWARD_RULES.iter().map(|(name, _, what)| format!("{name} ({what})"));
    each.collect::<Vec<_>>().join(", ")
}

/// 1 for the answer, nothing else but spaces around it, and the end: what was cut might have gone on. It is part 8's.
pub fn exact(reply: &RewardInput<'_>) -> f32 {
    exact_match_reward(reply) as f32
}

/// 1 if the last number of the completion is that of the answer, a whole one.
pub fn integer(reply: &RewardInput<'_>) -> f32 {
    let both = (last_integer(reply.completion), last_integer(&reply.example.completion));
    one_if(matches!(both, (Some(a), Some(b)) if a == b))
}

/// 1 if the number after `####` is the answer's.
pub fn gsm8k(reply: &RewardInput<'_>) -> f32 {
    one_if(numbers_agree(
        answer_after_marker(reply.completion),
        final_answer(&reply.example.completion),
    ))
}

/// The same where a completion without `####` answers with its last number.
pub fn gsm8k_flexible(reply: &RewardInput<'_>) -> f32 {
    one_if(numbers_agree(final_answer(reply.completion), final_answer(&reply.example.completion)))
}

/// 2 if `<answer>` holds the answer, 1.5 if it holds one number and that is the answer's.
pub fn correctness(reply: &RewardInput<'_>) -> f32 {
    let (Some(said), answer) = (extract_answer_tag(reply.completion), &reply.example.completion)
    else {
        return 0.;
    };
    if !said.is_empty() && said == answer.trim() {
        2.
    } else if numbers_agree(single_number(said), single_number(answer)) {
        1.5
    } else {
        0.
    }
}

/// 0.2 for each of `<reasoning>`, `</reasoning>`, `<answer>` and `</answer>` that occurs once, and after those before it.
pub fn format(reply: &RewardInput<'_>) -> f32 {
    let mut reward = 0.;
    let mut last = None;
    for tag in ["<reasoning>", "</reasoning>", "<answer>", "</answer>"] {
        let mut places = reply.completion.match_indices(tag).map(|(at, _)| at);
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
pub fn length(reply: &RewardInput<'_>) -> f32 {
    -0.01 * reply.completion.split_whitespace().count() as f32
}

fn numbers_agree(a: Option<f64>, b: Option<f64>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if approx_equal(a, b))
}

fn one_if(right: bool) -> f32 {
    f32::from(u8::from(right))
}
