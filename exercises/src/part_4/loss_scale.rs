//! 4.9 The loss scale (fill in, 12 minutes, ●●○)
//!
//! In f16 small gradients become 0, so the loss is multiplied by a scale and the gradients are
//! divided by it. Too large a scale makes them infinite. It is found by trying: a step whose
//! gradient norm is not finite is skipped and halves the scale; after `interval` good steps in a
//! row the scale is doubled, and the count begins anew. Return the scale before each step, and
//! whether the step was taken.
//!
//! Hint: Two numbers of state: the scale, and the good steps in a row.
//! Hint: A skipped step sets the count to 0, too.
//! Hint: `if norm.is_finite() { good += 1; if good == interval { scale *= 2.; good = 0; } } else {
//! scale /= 2.; good = 0; }`
//! Read: crates/part_4_scaling/src/grad_scaler.rs: pub fn update
//! Read: book/src/04_scale.md: ## Sixteen bits

/// Scale before each step and whether it was taken, from the gradient norms of the steps.
pub fn loss_scale(norms: &[f64], start: f64, interval: usize) -> Vec<(f64, bool)> {
    let (mut scale, mut good) = (start, 0);
    let mut steps = Vec::new();
    for norm in norms {
        steps.push((scale, norm.is_finite()));
        // SOLUTION: 10 lines: double after `interval` good steps, halve after a bad one
        if norm.is_finite() {
            good += 1;
            if good == interval {
                scale *= 2.;
                good = 0;
            }
        } else {
            scale /= 2.;
            good = 0;
        }
        // END
    }
    steps
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Scale = fn(&[f64], f64, usize) -> Vec<(f64, bool)>;

/// Grader. The reference counts back from each step.
pub const GRADE: Fill<Scale> = Fill {
    cases,
    reference: |norms, start, interval| {
        let exponent = |end: usize| {
            let runs = norms[..end].split(|norm| !norm.is_finite());
            let doubled: usize = runs.map(|run| run.len() / interval).sum();
            let halved = norms[..end].iter().filter(|norm| !norm.is_finite()).count();
            doubled as i32 - halved as i32
        };
        let scale = |at: usize| start * 2f64.powi(exponent(at));
        norms.iter().enumerate().map(|(at, norm)| (scale(at), norm.is_finite())).collect()
    },
    tolerance: 0.,
    wrong: &[
        Wrong {
            f: |norms, start, interval| wrongly(norms, start, interval, Mistake::CountGoesOn),
            says: "a skipped step does not reset the count of good ones",
            read: "",
        },
        Wrong {
            f: |norms, start, interval| wrongly(norms, start, interval, Mistake::EveryStep),
            says: "after the first `interval` good steps every step doubles: reset the count",
            read: "",
        },
        Wrong {
            f: |norms, start, interval| wrongly(norms, start, interval, Mistake::OneTooMany),
            says: "it doubles one good step too late",
            read: "",
        },
        Wrong {
            f: |norms, start, interval| wrongly(norms, start, interval, Mistake::NeverHalves),
            says: "a bad step leaves the scale as it is: every step will be skipped from then on",
            read: "",
        },
    ],
};

#[derive(PartialEq, Clone, Copy)]
enum Mistake {
    CountGoesOn,
    EveryStep,
    OneTooMany,
    NeverHalves,
}

fn wrongly(norms: &[f64], start: f64, interval: usize, mistake: Mistake) -> Vec<(f64, bool)> {
    let (mut scale, mut good) = (start, 0);
    let mut steps = Vec::new();
    for norm in norms {
        steps.push((scale, norm.is_finite()));
        if norm.is_finite() {
            good += 1;
            let due = interval + usize::from(mistake == Mistake::OneTooMany);
            if good >= due {
                scale *= 2.;
                if mistake != Mistake::EveryStep {
                    good = 0;
                }
            }
        } else {
            if mistake != Mistake::NeverHalves {
                scale /= 2.;
            }
            if mistake != Mistake::CountGoesOn {
                good = 0;
            }
        }
    }
    steps
}

fn cases(f: Scale, answers: &mut Answers) {
    let bad = f64::INFINITY;
    for (label, norms) in [
        ("good steps only", vec![1.; 8]),
        ("one that overflows", vec![1., 1., bad, 1., 1., 1., 1.]),
        ("two in a row, and NaN", vec![1., bad, f64::NAN, 1., 1., 1., bad, 1.]),
    ] {
        answers.record(format!("{label}: the scale"), || {
            Ok(f(&norms, 1024., 3).into_iter().map(|(scale, _)| scale).collect::<Vec<_>>())
        });
        answers.record(format!("{label}: taken"), || {
            let taken = f(&norms, 1024., 3).into_iter();
            Ok(taken.map(|(_, taken)| f64::from(u8::from(taken))).collect::<Vec<_>>())
        });
    }
}
