//! 10.5 Preferences at test time: no weight changes, but n completions are sampled and one is
//! given.
//!
//! ```text
//! best of n       the completion that a reward model (the judge) scores highest
//! majority vote   the answer that most completions agree on: no judge at all
//!                 (self-consistency, arxiv.org/abs/2203.11171)
//! KL(best of n ‖ policy) ≤ log n − (n − 1)/n        arxiv.org/abs/2112.09332, 2401.01879
//! ```
//!
//! The best of n has a KL without any training: at n = 64 at most log 64 − 63/64 = 3.2 nats. The
//! judge's own score grows with n by construction. Whether the answers get better says a rule that
//! the judge does not know; where its curve bends down while the judge's still rises, the judge is
//! over-optimized (Gao et al., <https://arxiv.org/abs/2210.10760>).
//!
//! From N ≥ n samples the expectation over all subsets of n has no further noise: sorted by the
//! judge's score, the sample of rank i (from 1) is the best of C(i − 1, n − 1) of C(N, n) subsets.
//! The majority has no such order; it is a mean over subsets that are drawn.

use std::collections::BTreeMap;

use experiment::statistics::mean;
use tensor_core::Rng;

/// Bound of KL(best of n ‖ policy), log n − (n − 1)/n, in nats.
pub fn kl_bound(n: usize) -> f64 {
    let n = n as f64;
    n.ln() - (n - 1.) / n
}

// ANCHOR: best_of_n
/// Expected `values` of the completion with the highest of `scores` among n of these N completions,
/// over all subsets. Completions of equal score share their mean value.
///
/// # Panics
/// When n is 0 or larger than N.
pub fn best_of_n(scores: &[f64], values: &[f64], n: usize) -> f64 {
    let total = scores.len();
    assert!((1..=total).contains(&n), "best of {n} from {total} completions");
    let mut order: Vec<usize> = (0..total).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    // Share of the subsets of n whose elements all have a rank of at most i: C(i, n) / C(N, n).
    let share_below = |i: usize| -> f64 {
        (0..n).map(|j| (i.saturating_sub(j)) as f64 / (total - j) as f64).product()
    };
    let (mut expected, mut first) = (0., 0);
    while first < total {
        let score = scores[order[first]];
        let is_tie = |i: &&usize| scores[**i].total_cmp(&score).is_eq();
        let n_ties = order[first..].iter().take_while(is_tie).count();
        let ties = &order[first..first + n_ties];
        let mean = ties.iter().map(|&i| values[i]).sum::<f64>() / n_ties as f64;
        expected += mean * (share_below(first + n_ties) - share_below(first));
        first += n_ties;
    }
    expected
}
// ANCHOR_END: best_of_n

/// Index of a completion with the answer that most of `answers` agree on; of answers that are
/// equally frequent, the one that came first.
///
/// # Panics
/// When there are no answers.
pub fn majority(answers: &[String]) -> usize {
    let count = |answer: &String| answers.iter().filter(|&other| other == answer).count();
    let best = (0..answers.len()).max_by_key(|&i| (count(&answers[i]), answers.len() - i));
    best.expect("at least one answer")
}

/// Expected `values` of the majority vote of n of the N completions with these `answers`: a mean
/// over `n_subsets` subsets drawn from `rng`, and exact where n is 1, 2 or N. Answers that are
/// equally frequent share their mean value.
///
/// # Panics
/// When n is 0 or larger than N.
pub fn majority_of_n(
    answers: &[String],
    values: &[f64],
    n: usize,
    n_subsets: usize,
    rng: &mut Rng,
) -> f64 {
    let total = answers.len();
    assert!((1..=total).contains(&n), "majority of {n} from {total} answers");
    if n <= 2 {
        return mean(values); // two votes agree, or they are equally frequent
    }
    let mut order: Vec<usize> = (0..total).collect();
    if n == total {
        return majority_value(answers, values, &order);
    }
    let draws = (0..n_subsets.max(1)).map(|_| {
        rng.shuffle(&mut order);
        majority_value(answers, values, &order[..n])
    });
    mean(&draws.collect::<Vec<f64>>())
}

/// Mean of the `values` of the `members` whose answer is most frequent among them.
fn majority_value(answers: &[String], values: &[f64], members: &[usize]) -> f64 {
    let mut of_answer: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for &i in members {
        of_answer.entry(&answers[i]).or_default().push(values[i]);
    }
    let most = of_answer.values().map(Vec::len).max().unwrap_or(0);
    let winners: Vec<f64> =
        of_answer.values().filter(|values| values.len() == most).map(|v| mean(v)).collect();
    mean(&winners)
}
