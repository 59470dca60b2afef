//! Verifiable rewards: functions of a completion, of whether it is terminated, and of the right
//! answer.
//!
//! A policy learns whatever its reward function gives credit for. Three policies without any
//! knowledge (a constant completion, random tokens, a chosen length) must therefore earn next to
//! nothing from each rule, which the tests check. They can earn from `format` alone, so its reward
//! is smaller than that of an answer.

use datasets::answers::{answer_after_marker, extract_answer_tag, final_answer};
use datasets::countdown::Puzzle;
use datasets::numbers::{approx_equal, last_integer, single_number};
use ppo::RewardInput;
use ppo::reward_fn::exact_match_reward;

/// Reward rule: the reward of a completion, with the right answer in its example's completion.
pub type RewardRule = fn(input: &RewardInput<'_>) -> f32;

/// Reward rules by name, with their descriptions.
pub const REWARD_RULES: [(&str, RewardRule, &str); 8] = [
    ("exact", exact, "1 for the bare answer of a terminated completion"),
    ("integer", integer, "1 if the last number is the answer, an integer"),
    ("gsm8k", gsm8k, "1 if the number after #### is the answer"),
    ("gsm8k-flexible", gsm8k_flexible, "the same, or the last number without ####"),
    ("correctness", correctness, "text in <answer>: 2 if it is the answer, 1.5 if its number is"),
    ("format", format, "0.2 for each of the four tags that occurs once and in order"),
    ("countdown", countdown, "1 for an expression of the numbers that equals the target"),
    ("length", length, "−0.01 per word"),
];

/// Rules that look at the completion alone.
pub const RULES_WITHOUT_ANSWERS: [&str; 2] = ["format", "length"];

/// Rules that only tell right (1) from wrong (0) completions.
pub const RIGHT_OR_WRONG_RULES: [&str; 5] =
    ["exact", "integer", "gsm8k", "gsm8k-flexible", "countdown"];
/// Highest reward of the rule `name`; `None` if no completion has it beside that of other rules:
/// only silence costs no length.
pub fn max_reward(name: &str) -> Option<f64> {
    match name {
        "exact" | "integer" | "gsm8k" | "gsm8k-flexible" | "countdown" => Some(1.),
        "correctness" => Some(2.),
        "format" => Some(0.8),
        _ => None,
    }
}

/// Names and descriptions of all rules, for the help text.
pub(crate) fn describe_reward_rules() -> String {
    let rules = REWARD_RULES.iter().map(|(name, _, description)| format!("{name} ({description})"));
    rules.collect::<Vec<_>>().join(", ")
}

/// Exact-match reward of part 8: 1 for a terminated completion that is the answer, up to spaces
/// around it.
pub fn exact(input: &RewardInput<'_>) -> f32 {
    exact_match_reward(input) as f32
}

/// Integer reward: 1 if the last number of the completion is that of the answer, an integer.
pub fn integer(input: &RewardInput<'_>) -> f32 {
    let both = (last_integer(input.completion), last_integer(&input.example.completion));
    one_if(matches!(both, (Some(a), Some(b)) if a == b))
}

/// GSM8K reward: 1 if the number after `####` is the answer's.
pub fn gsm8k(input: &RewardInput<'_>) -> f32 {
    one_if(numbers_agree(
        answer_after_marker(input.completion),
        final_answer(&input.example.completion),
    ))
}

/// Flexible GSM8K reward: as [`gsm8k`], with the last number if the completion has no `####`.
pub fn gsm8k_flexible(input: &RewardInput<'_>) -> f32 {
    one_if(numbers_agree(final_answer(input.completion), final_answer(&input.example.completion)))
}

/// Correctness reward: 2 if `<answer>` contains the answer, 1.5 if it contains a single number and
/// that is the answer's.
pub fn correctness(input: &RewardInput<'_>) -> f32 {
    let answer = &input.example.completion;
    let Some(text) = extract_answer_tag(input.completion) else { return 0. };
    if !text.is_empty() && text == answer.trim() {
        2.
    } else if numbers_agree(single_number(text), single_number(answer)) {
        1.5
    } else {
        0.
    }
}

/// Format reward: 0.2 for each of `<reasoning>`, `</reasoning>`, `<answer>` and `</answer>` that
/// occurs once and after the tags before it.
pub fn format(input: &RewardInput<'_>) -> f32 {
    let mut reward = 0.;
    let mut last = None;
    for tag in ["<reasoning>", "</reasoning>", "<answer>", "</answer>"] {
        let mut positions = input.completion.match_indices(tag).map(|(at, _)| at);
        if let (Some(at), None) = (positions.next(), positions.next())
            && last.is_none_or(|last| at > last)
        {
            reward += 0.2;
            last = Some(at);
        }
    }
    reward
}

/// Countdown reward: 1 for an expression that uses each number once and equals the target, which is
/// easy to check and hard to find. The expression is the content of `<answer>`, else the last line
/// of a completion that is not truncated; text after an equals sign is ignored.
pub fn countdown(input: &RewardInput<'_>) -> f32 {
    let Some(puzzle) = Puzzle::parse(&input.example.completion) else { return 0. };
    if !input.terminated() && extract_answer_tag(input.completion).is_none() {
        return 0.;
    }
    one_if(countdown_expression(input.completion).is_some_and(|text| puzzle.is_solved_by(text)))
}

/// Expression of a completion of [`countdown`].
pub(crate) fn countdown_expression(completion: &str) -> Option<&str> {
    let answer = extract_answer_tag(completion).or_else(|| completion.trim().lines().last())?;
    answer.split('=').next()
}

/// Length reward: −0.01 per word, to be combined with a reward for right answers.
pub fn length(input: &RewardInput<'_>) -> f32 {
    -0.01 * input.completion.split_whitespace().count() as f32
}

fn numbers_agree(a: Option<f64>, b: Option<f64>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if approx_equal(a, b))
}

fn one_if(right: bool) -> f32 {
    f32::from(u8::from(right))
}
