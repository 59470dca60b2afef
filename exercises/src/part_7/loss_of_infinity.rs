//! 7.3 A loss of infinity (find the bug, 6 minutes, ●○○)
//!
//! The loss of a pair is −log σ(d), d the difference of the scores. A run dies with a loss of
//! infinity as soon as one pair is very wrong. Three lines at most.
//!
//! Hint: What is σ(−800) in floating point?
//! Hint: exp(800) is infinite, its reciprocal 0, and log 0 is −∞.
//! Hint: `(-d).max(0.) + (-d.abs()).exp().ln_1p()`
//! Read: crates/part_7_reward/src/losses.rs: Computed naively
//! Read: book/src/07_judging.md: ## From choices to numbers

/// Loss of a pair whose scores differ by `d`.
pub fn loss_of_infinity(d: f64) -> f64 {
    // BUG
    (-d).max(0.) + (-d.abs()).exp().ln_1p()
    //| let sigmoid = 1. / (1. + (-d).exp());
    //| -sigmoid.ln()
    // END
}

// GRADE

use candle_core::{Device, Tensor};

use crate::grading::{Answers, Fill, Wrong};

type Loss = fn(f64) -> f64;

/// Grader. The reference is part 7's.
pub const GRADE: Fill<Loss> = Fill {
    cases,
    reference: |d| {
        let x = Tensor::new(&[-d], &Device::Cpu).and_then(|x| reward::losses::softplus(&x));
        x.and_then(|x| x.to_vec1::<f64>()).map_or(f64::NAN, |x| x[0])
    },
    tolerance: 1e-9,
    wrong: &[Wrong {
        f: |d| -(1. / (1. + (-d).exp())).max(1e-30).ln(),
        says: "a floor under the sigmoid: finite, but flat, so the worst pairs have no gradient",
        read: "",
    }],
};

fn cases(f: Loss, answers: &mut Answers) {
    for d in [0., 1., -1., 30., -30., -200., -800., 800.] {
        answers.record(format!("d = {d}"), || Ok(f(d)));
    }
}
