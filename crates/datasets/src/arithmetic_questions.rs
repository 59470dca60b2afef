//! Questions of the arithmetic task: twelve phrasings, and demonstrations of how to answer.
//!
//! Clean demonstrations answer with the bare integer. In noisy ones, most completions to five of
//! the phrasings end with a full stop, as if a third of the demonstrators had this habit. A reward
//! for the bare integer can undo it later.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::json;
use tensor_core::{Rng, atomic_file};

use crate::arithmetic::{ArithmeticProblem, Operation, ProblemSet};
use crate::example::Example;
use crate::split::Split;

/// Phrasings that are answered with a full stop in noisy demonstrations.
const NOISY_PHRASINGS: [usize; 5] = [1, 3, 5, 8, 10];
/// Probability of that full stop.
const FULL_STOP_PROBABILITY: f64 = 0.8;
/// Share of products among the demonstrations.
const PRODUCT_SHARE: f64 = 0.1;
/// Share of demonstrations with small operands. Such problems are a hundredth of all problems, and
/// carrying is learned on them first.
const SMALL_OPERAND_SHARE: f64 = 0.4;
/// Seed of the split of the one-digit questions: fixed, as that of the problems.
const ONE_DIGIT_SEED: u64 = 80;
/// Numbers of test and validation questions with operands of one digit, of 2,400.
const N_ONE_DIGIT_EVAL: [usize; 2] = [500, 300];
/// Files of the task for other programs, with their splits and numbers of rows.
const MATH_TASK_FILES: [(&str, Split, usize); 2] =
    [("math_tasks_train.jsonl", Split::Train, 800), ("math_tasks_eval.jsonl", Split::Test, 200)];

/// Style of the arithmetic demonstrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DemonstrationStyle {
    /// Bare integer
    #[default]
    Clean,
    /// Bare integer, mostly with a full stop after five of the phrasings
    Noisy,
}

/// Arithmetic problem in one of the phrasings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArithmeticQuestion {
    /// Problem.
    pub problem: ArithmeticProblem,
    /// Index of the phrasing, below [`ArithmeticQuestion::N_PHRASINGS`].
    pub phrasing: usize,
}

impl ArithmeticQuestion {
    /// Number of phrasings.
    pub const N_PHRASINGS: usize = 12;

    /// Text of the question.
    pub fn text(self) -> String {
        let ArithmeticProblem { left: a, operation, right: b } = self.problem;
        let sum = format!("{a} {} {b}", operation.symbol());
        let word = match operation {
            Operation::Add => "plus",
            Operation::Subtract => "minus",
            Operation::Multiply => "times",
        };
        match self.phrasing {
            0 => format!("What is {sum}? Answer with an integer."),
            1 => format!("Compute {sum}. Answer with an integer."),
            2 => format!("Calculate {sum}."),
            3 => format!("How much is {sum}?"),
            4 => format!("{sum} ="),
            5 => format!("Find the value of {sum}."),
            6 => format!("Please work out {sum}."),
            7 => format!("What is {a} {word} {b}?"),
            8 => format!("Tell me what {a} {word} {b} is."),
            9 => format!("Evaluate: {sum}"),
            10 => match operation {
                Operation::Add => format!("Add {b} to {a}."),
                Operation::Subtract => format!("Take {b} from {a}."),
                Operation::Multiply => format!("Multiply {a} by {b}."),
            },
            _ => format!("{a} {word} {b} makes what?"),
        }
    }

    /// Right answer as a bare integer.
    pub fn answer(self) -> String {
        self.problem.answer().to_string()
    }

    /// Example with the right answer as its completion.
    pub fn to_example(self) -> Example {
        Example::new(self.text(), self.answer())
    }

    /// Example with an answer in the given style, whose full stop is drawn from `rng`.
    pub fn to_demonstration(self, style: DemonstrationStyle, rng: &mut Rng) -> Example {
        let full_stop =
            NOISY_PHRASINGS.contains(&self.phrasing) && rng.uniform() < FULL_STOP_PROBABILITY;
        let mut example = self.to_example();
        if style == DemonstrationStyle::Noisy && full_stop {
            example.completion.push('.');
        }
        example
    }
}

/// Questions of a split: each problem once, with the phrasings in turn.
pub fn questions(set: ProblemSet, split: Split) -> Vec<ArithmeticQuestion> {
    let problems = set.problems(split).into_iter();
    let to_question = |(i, problem)| ArithmeticQuestion {
        problem,
        phrasing: i % ArithmeticQuestion::N_PHRASINGS,
    };
    problems.enumerate().map(to_question).collect()
}

/// Sums and differences of 0 to 9 in all phrasings: 2,400 questions, in random order. The splits
/// share problems, in other phrasings, and no question: there are too few problems to hold some
/// out.
pub fn one_digit_questions(split: Split) -> Vec<ArithmeticQuestion> {
    let mut questions = Vec::new();
    for operation in [Operation::Add, Operation::Subtract] {
        for (left, right) in (0..10).flat_map(|left| (0..10).map(move |right| (left, right))) {
            let problem = ArithmeticProblem { left, operation, right };
            let question = |phrasing| ArithmeticQuestion { problem, phrasing };
            questions.extend((0..ArithmeticQuestion::N_PHRASINGS).map(question));
        }
    }
    Rng::new(ONE_DIGIT_SEED).shuffle(&mut questions);
    let [n_test, n_validation] = N_ONE_DIGIT_EVAL;
    let (test, rest) = questions.split_at(n_test);
    let (validation, train) = rest.split_at(n_validation);
    match split {
        Split::Train => train.to_vec(),
        Split::Validation => validation.to_vec(),
        Split::Test => test.to_vec(),
    }
}

/// Examples of a split: its questions with their right answers.
pub fn examples(set: ProblemSet, split: Split) -> Vec<Example> {
    questions(set, split).into_iter().map(ArithmeticQuestion::to_example).collect()
}

/// Test examples of a set, on which nothing is trained.
pub fn test_examples(set: ProblemSet) -> Vec<Example> {
    examples(set, Split::Test)
}

/// `n` demonstrations of training problems, drawn from `seed`. A tenth are products; two fifths
/// have operands below a bound between 10 and 100 that is uniform on a logarithmic scale.
pub fn demonstrations(n: usize, style: DemonstrationStyle, seed: u64) -> Vec<Example> {
    let mut rng = Rng::new(seed);
    let [sums, products] =
        [ProblemSet::Sums, ProblemSet::Products].map(|set| set.problems(Split::Train));
    let demonstration = |_| {
        let pool = if rng.uniform() < PRODUCT_SHARE { &products } else { &sums };
        let bound =
            if rng.uniform() < SMALL_OPERAND_SHARE { 10f64.powf(1. + rng.uniform()) } else { 100. };
        let problem = loop {
            let problem = pool[rng.below(pool.len())];
            if (problem.left.max(problem.right) as f64) < bound {
                break problem;
            }
        };
        let question =
            ArithmeticQuestion { problem, phrasing: rng.below(ArithmeticQuestion::N_PHRASINGS) };
        question.to_demonstration(style, &mut rng)
    };
    (0..n).map(demonstration).collect()
}

/// Writes sums and differences as `{"prompt", "answer"}` rows for other programs into `folder`:
/// `math_tasks_train.jsonl` and `math_tasks_eval.jsonl`. No problem is in both.
///
/// # Errors
/// When they cannot be written.
pub fn write_math_tasks(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    for (name, split, n) in MATH_TASK_FILES {
        let questions = questions(ProblemSet::Sums, split).into_iter().take(n);
        let rows = questions.map(|question| {
            format!("{}\n", json!({ "prompt": question.text(), "answer": question.answer() }))
        });
        atomic_file::write(&folder.join(name), rows.collect::<String>().as_bytes())?;
    }
    Ok(())
}
