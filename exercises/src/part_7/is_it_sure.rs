//! 7.5 Is it sure, is it right? (fill in, 15 minutes, ●●○)
//!
//! A judge that prefers a completion by a difference d claims to be right with confidence σ(|d|),
//! from ½ to 1. It is calibrated if it is right as often as it claims. Put the pairs into five bins
//! of confidence of equal width (0.5 to 0.6, ...), take in each the distance of mean confidence and
//! accuracy, and return the mean of the distances, weighted with the pairs in each bin: the
//! expected calibration error. `d` is chosen − rejected, so the judge is right where d > 0; a tie
//! counts one half.
//!
//! Hint: The bin of a confidence c is `((c - 0.5) * 10.) as usize`, at most 4.
//! Hint: Three sums per bin: pairs, confidences, right ones.
//! Hint: Σ over the bins of |sum of confidences − right ones| / n is the same and shorter: the
//! number of a bin's pairs cancels.
//! Read: crates/part_7_reward/src/metrics.rs: pub fn calibration_error
//! Read: book/src/07_judging.md: ## Is it any good?

/// Expected calibration error of pairs whose scores differ by `differences`.
pub fn is_it_sure(differences: &[f64]) -> f64 {
    // SOLUTION: 12 lines: bins of confidence, and the weighted distance from their accuracy
    let mut gaps = [0.; 5]; // sum of confidences less right ones
    for d in differences {
        let confidence = 1. / (1. + (-d.abs()).exp());
        let bin = (((confidence - 0.5) * 10.) as usize).min(4);
        let right = match d.total_cmp(&0.) {
            _ if *d == 0. => 0.5,
            order => f64::from(u8::from(order.is_gt())),
        };
        gaps[bin] += confidence - right;
    }
    gaps.iter().map(|gap: &f64| gap.abs()).sum::<f64>() / differences.len() as f64
    // END
}

// GRADE

use reward::metrics::{calibration, calibration_error};

use crate::grading::{Answers, Fill, Wrong};

type Error = fn(&[f64]) -> f64;

/// Grader. The reference is part 7's.
pub const GRADE: Fill<Error> = Fill {
    cases,
    reference: |differences| {
        let rewards: Vec<[f64; 2]> = differences.iter().map(|d| [*d, 0.]).collect();
        calibration_error(&calibration(&rewards))
    },
    tolerance: 1e-9,
    wrong: &[
        Wrong {
            f: |differences| {
                let gap = |d: &f64| confidence(*d) - right(*d);
                differences.iter().map(gap).sum::<f64>().abs() / differences.len() as f64
            },
            says: "one bin for all: over- and under-confidence cancel",
            read: "",
        },
        Wrong {
            f: |differences| {
                let gap = |d: &f64| (confidence(*d) - right(*d)).abs();
                differences.iter().map(gap).sum::<f64>() / differences.len() as f64
            },
            says: "a bin for each pair: the accuracy of one pair is 0 or 1",
            read: "",
        },
        Wrong {
            f: |differences| {
                let mut bins = [(0., 0.); 5];
                for d in differences {
                    let bin = (((confidence(*d) - 0.5) * 10.) as usize).min(4);
                    bins[bin].0 += 1.;
                    bins[bin].1 += confidence(*d) - right(*d);
                }
                let filled: Vec<_> = bins.iter().filter(|bin| bin.0 > 0.).collect();
                filled.iter().map(|bin| (bin.1 / bin.0).abs()).sum::<f64>() / filled.len() as f64
            },
            says: "every bin counts the same; they are weighted with their pairs",
            read: "",
        },
        Wrong {
            f: |differences| {
                let gap = |d: &f64| (bin(confidence(*d)), confidence(*d) - right(*d));
                let ties = differences.iter().filter(|d| **d == 0.);
                let ties = ties.map(|d| (bin(confidence(*d)), 0.5));
                weighted(differences.iter().map(gap).chain(ties), differences.len())
            },
            says: "a tie counts as wrong; it counts one half",
            read: "",
        },
        Wrong {
            f: |differences| {
                let sigmoid = |d: f64| 1. / (1. + (-d).exp());
                let gap = |d: &f64| (bin(sigmoid(*d)), sigmoid(*d) - right(*d));
                weighted(differences.iter().map(gap), differences.len())
            },
            says: "the confidence is σ(d), below ½ where the judge prefers the rejected one; it is \
                   as sure of that choice, σ(|d|)",
            read: "",
        },
    ],
};

fn confidence(d: f64) -> f64 {
    1. / (1. + (-d.abs()).exp())
}

fn bin(confidence: f64) -> usize {
    (((confidence - 0.5) * 10.) as usize).min(4)
}

/// Calibration error of `n` pairs, from bins and distances.
fn weighted(pairs: impl Iterator<Item = (usize, f64)>, n: usize) -> f64 {
    let mut gaps = [0.; 5];
    pairs.for_each(|(bin, gap)| gaps[bin] += gap);
    gaps.iter().map(|gap: &f64| gap.abs()).sum::<f64>() / n as f64
}

fn right(d: f64) -> f64 {
    if d == 0. { 0.5 } else { f64::from(u8::from(d > 0.)) }
}

fn cases(f: Error, answers: &mut Answers) {
    answers.record("sure and right", || Ok(f(&[9., 8., 10.])));
    answers.record("sure and wrong half the time", || Ok(f(&[9., -9., 8., -8.])));
    answers.record("ties: a coin that says so", || Ok(f(&[0., 0.])));
    for n in [20, 200] {
        let differences: Vec<f64> = (0..n).map(|_| 0.3 + 1.5 * answers.rng().normal()).collect();
        answers.record(format!("{n} random pairs"), || Ok(f(&differences)));
    }
}
