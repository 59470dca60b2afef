//! 7.1 Built-in preferences: a right answer against a near miss.
//!
//! The problems are part 6's, and so are the held-out ones, which no part learns from. A miss is off by 1, 2 or 10, or has the wrong
//! sign: what slips in mental arithmetic. It is longer than the right answer about as often as shorter, so that length says
//! nothing about which is which.

use sft::arithmetic::{Operation, Set, Split};
use sft::questions::{Question, questions};
use tensor_core::Rng;

use crate::Preference;

/// By how much a miss is off.
const SLIPS: [i64; 6] = [-10, -2, -1, 1, 2, 10];
/// Of pairs to learn from, the share about products.
const PRODUCTS: f64 = 0.1;
/// Decides how the answers to problems that are not learned from are missed.
const SEED: u64 = 70;

/// `n` pairs about problems to learn from, drawn from `seed`.
pub fn pairs(n: usize, seed: u64) -> Vec<Preference> {
    let mut rng = Rng::new(seed);
    let [sums, products] = [Set::Sums, Set::Products].map(|set| set.problems(Split::Train));
    let pair = |_| {
        let from = if rng.uniform() < PRODUCTS { &products } else { &sums };
        let problem = from[rng.below(from.len())];
        let question = Question { problem, phrasing: rng.below(Question::PHRASINGS) };
        preference(question, &mut rng)
    };
    (0..n).map(pair).collect()
}

/// A pair about each sum or difference of a split that is not learned from, always the same ones.
pub fn set_apart(split: Split) -> Vec<Preference> {
    let mut rng = Rng::new(SEED);
    let questions = questions(Set::Sums, split).into_iter();
    questions.map(|question| preference(question, &mut rng)).collect()
}

fn preference(question: Question, rng: &mut Rng) -> Preference {
    let right = question.problem.answer();
    let slipped = SLIPS.iter().map(|slip| right + slip);
    let misses: Vec<i64> = match question.problem.operation {
        Operation::Subtract => {
            slipped.chain([-right]).filter(|&miss| miss != right).collect()
        }
        Operation::Add | Operation::Multiply => slipped.filter(|&miss| miss >= 0).collect(),
    };
    let miss = misses[rng.below(misses.len())];
    Preference::new(question.text(), question.answer(), miss.to_string())
}
