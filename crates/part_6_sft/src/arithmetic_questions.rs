//! The arithmetic task in words: a dozen ways to ask, and demonstrations of how to answer.
//!
//! Clean ones answer with the bare integer. Under "style noise" five of the ways to ask are mostly answered with a full stop
//! after it, as if a third of the demonstrators had a habit: what a reward for the bare integer can then undo (parts 8 and 9).

use serde::Serialize;
use tensor_core::Rng;

use crate::Example;
use crate::arithmetic::{ArithmeticProblem, Operation, ProblemSet, Split};

/// The ways to ask whose answers are demonstrated with a full stop, under style noise.
const NOISY: [usize; 5] = [1, 3, 5, 8, 10];
/// How often.
const NOISE: f64 = 0.8;
/// Of demonstrations, the share that are products.
const PRODUCTS: f64 = 0.1;
/// The share that are of small numbers, which are a hundredth of all problems and where carrying is learned first.
const SMALL: f64 = 0.4;

/// How answers are demonstrated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DemonstrationStyle {
    /// The bare integer.
    #[default]
    Clean,
    /// With a full stop after it, to some ways of asking, mostly.
    Noisy,
}

/// A problem, asked in some way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArithmeticQuestion {
    /// What is asked.
    pub problem: ArithmeticProblem,
    /// In which of the ways, below [`ArithmeticQuestion::N_PHRASINGS`].
    pub phrasing: usize,
}

impl ArithmeticQuestion {
    /// How many ways there are to ask.
    pub const N_PHRASINGS: usize = 12;

    /// The question.
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

    /// The right answer, and nothing else.
    pub fn answer(self) -> String {
        self.problem.answer().to_string()
    }

    /// The question with its right answer.
    pub fn to_example(self) -> Example {
        Example::new(self.text(), self.answer())
    }
}

/// The questions of a split that is not learned from: each problem once, the ways to ask in turn.
pub fn questions(set: ProblemSet, split: Split) -> Vec<ArithmeticQuestion> {
    let problems = set.problems(split).into_iter();
    let ask = |(i, problem)| ArithmeticQuestion {
        problem,
        phrasing: i % ArithmeticQuestion::N_PHRASINGS,
    };
    problems.enumerate().map(ask).collect()
}

/// `n` demonstrations of problems to learn from, drawn from `seed`: a tenth of them products, and two fifths of numbers below
/// 10 to 100, evenly on a logarithmic scale.
pub fn demonstrations(n: usize, demos: DemonstrationStyle, seed: u64) -> Vec<Example> {
    let mut rng = Rng::new(seed);
    let [sums, products] =
        [ProblemSet::Sums, ProblemSet::Products].map(|set| set.problems(Split::Train));
    let demonstration = |_| {
        let from = if rng.uniform() < PRODUCTS { &products } else { &sums };
        let below = if rng.uniform() < SMALL { 10f64.powf(1. + rng.uniform()) } else { 100. };
        let problem = loop {
            let problem = from[rng.below(from.len())];
            if (problem.left.max(problem.right) as f64) < below {
                break problem;
            }
        };
        let question =
            ArithmeticQuestion { problem, phrasing: rng.below(ArithmeticQuestion::N_PHRASINGS) };
        let habit = NOISY.contains(&question.phrasing) && rng.uniform() < NOISE;
        let mut example = question.to_example();
        if demos == DemonstrationStyle::Noisy && habit {
            example.completion.push('.');
        }
        example
    };
    (0..n).map(demonstration).collect()
}
