//! 10.4 The gradient of a pair by hand (fill in, 10 minutes, ●●○)
//!
//! The loss of a pair is −log σ(βΔ), Δ = chosen − rejected, both log-ratios log(π/π_ref). Return
//! its derivatives for log π of the chosen and of the rejected completion. No autodiff: one factor,
//! with two signs. It is worth knowing by heart, because it says what DPO does: fine-tuning on the
//! chosen, the contrary on the rejected, and how much of it.
//!
//! Hint: d/dz of −log σ(z) is σ(z) − 1, which is −σ(−z).
//! Hint: dz/d log π(y⁺) = β, and −β for the rejected one.
//! Hint: `let pull = beta / (1. + (beta * (chosen - rejected)).exp()); [-pull, pull]`
//! Read: book/src/10_without_trying.md: **The gradient.**

/// Derivatives of a pair's loss for log π of its chosen and of its rejected completion.
pub fn dpo_gradient(chosen: f64, rejected: f64, beta: f64) -> [f64; 2] {
    // SOLUTION: 2 lines: β σ(−βΔ), with both signs
    let pull = beta / (1. + (beta * (chosen - rejected)).exp());
    [-pull, pull]
    // END
}

// GRADE

use candle_core::{Device, Result, Tensor, Var};
use dpo::{BatchLogProbs, DpoLoss, Label};
use tensor_core::backward;

use crate::grading::{Answers, Fill, Wrong};

type Gradient = fn(f64, f64, f64) -> [f64; 2];

/// Grader. The reference differentiates part 10's loss.
pub const GRADE: Fill<Gradient> = Fill {
    cases,
    reference: |chosen, rejected, beta| {
        let worked = || -> Result<[f64; 2]> {
            let sides = [chosen, rejected].map(|x| Var::new(&[x], &Device::Cpu));
            let [chosen, rejected] = sides;
            let (chosen, rejected) = (chosen?, rejected?);
            let side = |x: &Tensor, label| BatchLogProbs::new(x, &[0.], &[1], vec![label]);
            let loss = DpoLoss::sigmoid(beta).pair_losses(
                &side(chosen.as_tensor(), Label::Chosen)?,
                &side(rejected.as_tensor(), Label::Rejected)?,
            )?;
            let grads = backward(&loss.sum_all()?)?;
            let of = |x: &Var| -> Result<f64> {
                match grads.get(x.as_tensor()) {
                    Some(gradient) => gradient.sum_all()?.to_scalar(),
                    None => candle_core::bail!("no gradient"),
                }
            };
            Ok([of(&chosen)?, of(&rejected)?])
        };
        worked().expect("one pair")
    },
    tolerance: 1e-9,
    wrong: &[
        Wrong {
            f: |chosen, rejected, beta| dpo_gradient(rejected, chosen, beta),
            says: "the factor is σ(βΔ): pairs that are settled would pull most. It is σ(−βΔ), the \
                   probability that the policy gives to the wrong choice",
            read: "",
        },
        Wrong {
            f: |chosen, rejected, beta| dpo_gradient(chosen, rejected, beta).map(|x| -x),
            says: "the signs are turned: along the negative gradient the chosen one would fall",
            read: "",
        },
        Wrong {
            f: |chosen, rejected, beta| dpo_gradient(chosen, rejected, beta).map(|x| x / beta),
            says: "the β of the chain rule is missing",
            read: "",
        },
        Wrong {
            f: |chosen, rejected, beta| {
                let [a, _] = dpo_gradient(chosen, rejected, beta);
                [a, 0.]
            },
            says: "the rejected completion has a gradient, too, as large and with the other sign",
            read: "",
        },
        Wrong {
            f: |chosen, rejected, beta| {
                let pull = beta / (1. + (chosen - rejected).exp());
                [-pull, pull]
            },
            says: "β is missing inside σ: it is σ(−βΔ)",
            read: "",
        },
    ],
};

fn cases(f: Gradient, answers: &mut Answers) {
    answers.record("the first step, β = 0.1", || Ok(f(0., 0., 0.1)));
    answers.record("settled, β = 0.1", || Ok(f(1., -3., 0.1)));
    answers.record("settled long ago, β = 2", || Ok(f(10., -20., 2.)));
    answers.record("in the wrong order, β = 2", || Ok(f(-3., 1., 2.)));
}
