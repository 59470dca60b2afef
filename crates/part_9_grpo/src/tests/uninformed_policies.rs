//! Reward rules: policies without any knowledge must earn next to nothing. The policies write a
//! constant, random tokens, or a chosen number of words.

use datasets::Example;
use tensor_core::Rng;
use tensor_core::testing::assert_close;

use super::reward_for;
use crate::Task;
use crate::rewards::{self, REWARD_RULES, RewardRule};
use crate::task::SYSTEM_PROMPT;

/// Prompts and right answers of `task`.
fn prompts_and_answers(task: Task, n: usize) -> Vec<(String, String)> {
    let all = match task {
        Task::Gsm8k => (0..n)
            .map(|i| Example::new(format!("{i} and {i} make what?"), format!("{}", 2 * i)))
            .collect(),
        _ => task.test_examples().expect("problems"),
    };
    let text = |example: Example| (example.prompt[0].content.clone(), example.completion);
    all.into_iter().take(n).map(text).collect()
}

fn tasks_of(name: &str) -> &'static [Task] {
    match name {
        "countdown" => &[Task::Countdown],
        "exact" | "integer" => &[Task::Arithmetic, Task::Gsm8k],
        _ => &[Task::Gsm8k],
    }
}

/// Mean reward of a policy.
fn mean_reward(
    reward: RewardRule,
    problems: &[(String, String)],
    mut policy: impl FnMut(&str) -> String,
) -> f32 {
    let rewards =
        problems.iter().map(|(prompt, answer)| reward_for(reward, &policy(prompt), answer));
    rewards.sum::<f32>() / problems.len() as f32
}

#[test]
fn a_constant_completion_earns_next_to_nothing() {
    let constants = [
        "",
        "0",
        "1",
        "42",
        "100",
        "-1",
        "The answer is 10.",
        "#### 12",
        "<answer>7</answer>",
        "####",
        "NaN",
        "inf",
        "0 1 2 3 4 5",
        SYSTEM_PROMPT,
        "<answer></answer>",
        "1 + 2",
        "()",
        "= 22",
        "None",
        "1e999",
        "<answer>None</answer>",
    ];
    for (name, reward, _) in REWARD_RULES.iter().filter(|(name, _, _)| *name != "format") {
        for &task in tasks_of(name) {
            let problems = prompts_and_answers(task, 200);
            for constant in constants {
                let mean = mean_reward(*reward, &problems, |_| constant.to_string());
                assert!(mean <= 0.05, "{name} gives {mean} to {constant:?}");
            }
            let echo = mean_reward(*reward, &problems, str::to_string);
            assert!(echo <= 0.05, "{name} gives {echo} to a repetition of the prompt");
        }
    }
}

#[test]
fn random_tokens_earn_next_to_nothing() {
    let mut rng = Rng::new(9);
    let text = "0 1 2 3 4 5 6 7 8 9 10 20 50 99 - + * / = ( ) . , $ % #### <answer> </answer> \
                <reasoning> </reasoning> is the";
    let pieces: Vec<&str> = text.split(' ').collect();
    for (name, reward, _) in REWARD_RULES.iter().filter(|(name, _, _)| *name != "format") {
        for &task in tasks_of(name) {
            let problems = prompts_and_answers(task, 300);
            let mean = mean_reward(*reward, &problems, |_| {
                let n = 1 + rng.below(12);
                (0..n).map(|_| pieces[rng.below(pieces.len())]).collect::<Vec<_>>().join(" ")
            });
            assert!(mean <= 0.05, "{name} gives {mean} to random tokens");
        }
    }
}

#[test]
fn a_chosen_number_of_words_earns_nothing() {
    for (name, reward, _) in REWARD_RULES {
        for &task in tasks_of(name) {
            let problems = prompts_and_answers(task, 100);
            for n in [0, 1, 3, 10, 100, 1000] {
                let mean = mean_reward(reward, &problems, |_| "word ".repeat(n));
                assert!(mean <= 0., "{name} gives {mean} to {n} words");
            }
        }
    }
}

/// A policy without any knowledge can learn the format, so its reward must be below an answer's.
#[test]
fn the_format_alone_earns_less_than_an_answer() {
    let empty = "<reasoning>\n</reasoning>\n<answer>\n</answer>";
    let format = reward_for(rewards::format, empty, "42");
    assert_close(format, 0.8, 1e-6);
    assert!(format < reward_for(rewards::correctness, "<answer>42</answer>", "42"));
    assert_eq!(reward_for(rewards::correctness, empty, "42"), 0.);
}
