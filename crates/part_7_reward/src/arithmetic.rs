//! 7.1 Built-in preferences: a right answer against a near miss.
//!
//! The problems are part 6's, and so are the held-out ones, which no part learns from. A miss is off by 1 to 10, as slips of counting
//! and carrying are. It is longer than the right answer about as often as shorter, so that length says nothing about which is
//! which.

use sft::arithmetic::{Operation, ProblemSet, Split};
use sft::arithmetic_questions::{ArithmeticQuestion, questions};
use tensor_core::Rng;

use crate::Preference;

/// The most that a miss is off.
const SLIP: i64 = 10;
/// Of pairs to learn from, the share about products.
const PRODUCTS: f64 = 0.1;
/// Decides how the answers to problems that are not learned from are missed.
const SEED: u64 = 70;

/// `n` pairs about problems to learn from, drawn from `seed`.
pub fn train_pairs(n: usize, seed: u64) -> Vec<Preference> {
    let mut rng = Rng::new(seed);
    let [sums, products] =
        [ProblemSet::Sums, ProblemSet::Products].map(|set| set.problems(Split::Train));
    let pair = |_| {
        let from = if rng.uniform() < PRODUCTS { &products } else { &sums };
        let problem = from[rng.below(from.len())];
        let question =
            ArithmeticQuestion { problem, phrasing: rng.below(ArithmeticQuestion::N_PHRASINGS) };
        preference(question, &mut rng)
    };
    (0..n).map(pair).collect()
}

/// A pair about each sum or difference of a split that is not learned from, always the same ones.
pub fn eval_pairs(split: Split) -> Vec<Preference> {
    let mut rng = Rng::new(SEED);
    let questions = questions(ProblemSet::Sums, split).into_iter();
    questions.map(|question| preference(question, &mut rng)).collect()
}

fn preference(question: ArithmeticQuestion, rng: &mut Rng) -> Preference {
    let (right, operation) = (question.problem.answer(), question.problem.operation);
    let below_zero = operation == Operation::Subtract;
    let around = (right - SLIP..=right + SLIP).filter(|&miss| miss != right);
    let misses: Vec<i64> = around.filter(|&miss| miss >= 0 || below_zero).collect();
    let miss = misses[rng.below(misses.len())];
    Preference::new(question.text(), question.answer(), miss.to_string())
}
