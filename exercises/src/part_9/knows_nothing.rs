//! 9.7 A reward that knows nothing cannot earn (fill in, 15 minutes, ●●○)
//!
//! Write the reward of a completion for a sum: 1 if it says the right number and no other, else 0.
//! Text around it is allowed. Whatever a reward pays for will be found, so the grader lets policies
//! earn that know nothing: one that always says the same, one that lists all numbers, one that
//! repeats the question, one that writes long digits. All of them have to earn nearly nothing, and
//! those that add have to earn 1.
//!
//! A number is a run of digits with perhaps a minus directly before it; digits in a word (`x7`)
//! count, too.
//!
//! Hint: Find *all* numbers of the completion, and compare the list with what you expect.
//! Hint: `contains("12")` is true of `112` and of `1 2 12 13`.
//! Hint: Split at everything that is neither digit nor minus: `completion.split(|c: char|
//! !c.is_ascii_digit() && c != '-')`, parse what is left as `i64`, and require exactly one number.
//! Read: crates/part_9_grpo/src/rewards.rs: pub fn integer
//! Read: book/src/09_comparing.md: ## Rewards that can be checked

/// Reward of `completion` where `answer` is right.
pub fn knows_nothing(completion: &str, answer: i64) -> f64 {
    // SOLUTION: 4 lines: all numbers of the completion, and whether the answer is the only one
    let words = completion.split(|c: char| !c.is_ascii_digit() && c != '-');
    let numbers: Vec<&str> =
        words.filter(|word| word.chars().any(|c| c.is_ascii_digit())).collect();
    let is_right = matches!(numbers[..], [number] if number.parse() == Ok(answer));
    f64::from(u8::from(is_right))
    // END
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Reward = fn(&str, i64) -> f64;

/// Grader. The reference reads letter by letter.
pub const GRADE: Fill<Reward> = Fill {
    cases,
    reference: |completion, answer| {
        let (mut numbers, mut current, mut before) = (Vec::new(), String::new(), ' ');
        for c in completion.chars().chain([' ']) {
            if c.is_ascii_digit() {
                if current.is_empty() && before == '-' {
                    current.push('-');
                }
                current.push(c);
            } else if !current.is_empty() {
                numbers.push(std::mem::take(&mut current));
            }
            before = c;
        }
        f64::from(u8::from(numbers == [answer.to_string()]))
    },
    tolerance: 0.,
    wrong: &[
        Wrong {
            f: |completion, answer| f64::from(u8::from(completion.contains(&answer.to_string()))),
            says: "a completion that contains the digits earns: listing all numbers does",
            read: "",
        },
        Wrong {
            f: |completion, answer| f64::from(u8::from(completion.trim() == answer.to_string())),
            says: "text around the right number is allowed",
            read: "",
        },
        Wrong {
            f: |completion, answer| {
                let mut words = completion.split(|c: char| !c.is_ascii_digit() && c != '-');
                let is_right = words.any(|word| word.parse() == Ok(answer));
                f64::from(u8::from(is_right))
            },
            says: "any right number earns; a policy that lists all of them knows nothing",
            read: "",
        },
        Wrong {
            f: |completion, answer| {
                let is_right = knows_nothing(completion, answer) > 0.;
                let has_digit = completion.chars().any(|c| c.is_ascii_digit());
                if is_right {
                    1.
                } else if has_digit {
                    0.5
                } else {
                    0.
                }
            },
            says: "a wrong number earns half: a policy that says 11 to everything lives on that",
            read: "crates/part_8_ppo/README.md: Any bare number gets 0.5",
        },
        Wrong {
            f: |completion, answer| knows_nothing(&completion.replace('-', " "), answer),
            says: "the minus is not read: −12 counts as 12",
            read: "",
        },
    ],
};

fn cases(f: Reward, answers: &mut Answers) {
    let questions: Vec<(i64, i64)> = (0..40)
        .map(|_| (answers.rng().below(100) as i64, answers.rng().below(100) as i64))
        .collect();
    let all: String = (-100..200).map(|n| format!("{n} ")).collect();
    let mut earns = |label: &str, policy: &dyn Fn(i64, i64) -> String| {
        answers.record(label, || {
            let rewards = questions.iter().map(|&(a, b)| f(&policy(a, b), a - b));
            Ok(rewards.sum::<f64>() / questions.len() as f64)
        });
    };
    earns("a policy that subtracts", &|a, b| (a - b).to_string());
    earns("one that says it in a sentence", &|a, b| format!("The answer is {}.", a - b));
    earns("one that always says 7", &|_, _| "7".to_string());
    earns("one that lists all numbers", &|_, _| all.clone());
    earns("one that repeats the question", &|a, b| format!("{a} - {b}"));
    earns("one that writes too many digits", &|a, b| format!("{}{}1", a - b, (a - b).abs()));
    earns("one that says nothing", &|_, _| String::new());
}
