//! Arithmetic preferences: the right answer (chosen) against a near miss (rejected).
//!
//! The problems are those of the arithmetic task, with the same splits. A near miss is off by 1 to
//! 10, like an error of counting or carrying. It is longer than the right answer about as often as
//! shorter, so length is uninformative.

use tensor_core::Rng;

use crate::arithmetic::{Operation, ProblemSet};
use crate::arithmetic_questions::{ArithmeticQuestion, questions};
use crate::preference::Preference;
use crate::split::Split;

/// Largest difference between a near miss and the right answer.
const MAX_ERROR: i64 = 10;
/// Fraction of training pairs that are products.
const PRODUCT_FRACTION: f64 = 0.1;
/// Seed of the near misses in the validation and test splits.
const EVAL_SEED: u64 = 70;

/// Training pairs: `n` random problems of the training split, sampled with `seed`.
pub fn train_pairs(n: usize, seed: u64) -> Vec<Preference> {
    let mut rng = Rng::new(seed);
    let [sums, products] =
        [ProblemSet::Sums, ProblemSet::Products].map(|set| set.problems(Split::Train));
    let pair = |_| {
        let problems = if rng.uniform() < PRODUCT_FRACTION { &products } else { &sums };
        let problem = problems[rng.below(problems.len())];
        let question =
            ArithmeticQuestion { problem, phrasing: rng.below(ArithmeticQuestion::N_PHRASINGS) };
        near_miss_pair(question, &mut rng)
    };
    (0..n).map(pair).collect()
}

/// Evaluation pairs: one per sum or difference of the validation or test split, always the same.
pub fn eval_pairs(split: Split) -> Vec<Preference> {
    let mut rng = Rng::new(EVAL_SEED);
    let questions = questions(ProblemSet::Sums, split).into_iter();
    questions.map(|question| near_miss_pair(question, &mut rng)).collect()
}

/// Pair of the right answer to `question` and a near miss, drawn from `rng`.
pub fn near_miss_pair(question: ArithmeticQuestion, rng: &mut Rng) -> Preference {
    let (right, operation) = (question.problem.answer(), question.problem.operation);
    let may_be_negative = operation == Operation::Subtract;
    let neighbors = (right - MAX_ERROR..=right + MAX_ERROR).filter(|&number| number != right);
    let near_misses: Vec<i64> =
        neighbors.filter(|&number| number >= 0 || may_be_negative).collect();
    let near_miss = near_misses[rng.below(near_misses.len())];
    Preference::new(question.text(), question.answer(), near_miss.to_string())
}
