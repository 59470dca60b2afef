//! 7.1 Bradley-Terry (fill in, 12 minutes, ●●○)
//!
//! A judge gives scores; the chosen completion is the better one with probability σ(chosen −
//! rejected). The loss of a pair is −log σ(chosen − rejected). Return the mean over the pairs, also
//! for differences of ±10,000, where exp overflows. Only the difference counts: a number added to
//! all scores changes nothing.
//!
//! Hint: −log σ(d) = log(1 + exp(−d)), which is called softplus(−d).
//! Hint: For x > 0, log(1 + exp(x)) = x + log(1 + exp(−x)): no exponential of a positive number is
//! left.
//! Hint: With x = rejected − chosen: `x.relu()? + ((x.abs()?.neg()?.exp()? + 1.)?.log()?)`, then
//! the mean.
//! Read: crates/part_7_reward/src/losses.rs: pub fn softplus
//! Read: book/src/07_judging.md: ## From choices to numbers

use candle_core::{Result, Tensor};

/// Mean loss, (), of pairs with scores `chosen` and `rejected`, (P) each.
pub fn bradley_terry(chosen: &Tensor, rejected: &Tensor) -> Result<Tensor> {
    // SOLUTION: 3 lines: softplus of the difference, without overflow, and its mean
    let x = (rejected - chosen)?;
    let softplus = (x.relu()? + (x.abs()?.neg()?.exp()? + 1.)?.log()?)?;
    softplus.mean_all()
    // END
}

// GRADE

use candle_core::Device;

use crate::grading::{Answers, Fill, Wrong};

type Loss = fn(&Tensor, &Tensor) -> Result<Tensor>;

/// Grader. The reference is part 7's.
pub const GRADE: Fill<Loss> = Fill {
    cases,
    reference: reward::losses::bradley_terry,
    tolerance: 1e-6,
    wrong: &[
        Wrong {
            f: |chosen, rejected| {
                (((chosen - rejected)?.neg()?.exp()? + 1.)?.recip()?.log()?.neg()?).mean_all()
            },
            says: "the logarithm of a sigmoid that has become 0; softplus does not overflow",
            read: "",
        },
        Wrong {
            f: |chosen, rejected| bradley_terry(rejected, chosen),
            says: "the sign of the difference: the rejected completion is rewarded",
            read: "",
        },
        Wrong {
            f: |chosen, rejected| {
                let x = (rejected - chosen)?;
                (x.relu()? + (x.abs()?.neg()?.exp()? + 1.)?.log()?)?.sum_all()
            },
            says: "the sum over the pairs; the mean is asked",
            read: "",
        },
        Wrong {
            f: |chosen, rejected| {
                ((chosen - rejected)?.neg()?.exp()? + 1.)?.recip()?.neg()?.mean_all()
            },
            says: "−σ without its logarithm: a pair that is quite wrong has no gradient",
            read: "",
        },
    ],
};

fn cases(f: Loss, answers: &mut Answers) {
    for n in [2, 5] {
        let (chosen, rejected) = (answers.normal(&[n]), answers.normal(&[n]));
        answers.record(format!("loss of {n} pairs"), || f(&chosen, &rejected));
        answers.record(format!("{n} pairs, 100 added to all scores"), || {
            f(&(&chosen + 100.)?, &(&rejected + 100.)?)
        });
        answers.gradient(format!("gradient of {n} pairs"), &chosen, |chosen| f(chosen, &rejected));
    }
    let scores = |x: f64| Tensor::new(&[x, -x], &Device::Cpu);
    answers.record("differences of ±10,000", || f(&scores(5000.)?, &scores(-5000.)?));
}
