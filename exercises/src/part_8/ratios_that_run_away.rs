//! 8.8 Ratios that run away (find the bug, 4 minutes, ●○○)
//!
//! With this loss ratios run away: a token that has become three times as likely as it was goes on
//! rising, and one that became likelier by mistake is not brought back. One line is enough.
//!
//! Hint: Take A = 1 and ρ = 3. Which of the two products should count, so that there is no gain
//! beyond 1.2?
//! Hint: The clipped objective is a pessimistic one: of two estimates it believes the lower.
//! Hint: Of ρ A and clip(ρ) A the `minimum` is maximized; the loss is its negative.
//! Read: crates/part_8_ppo/src/losses.rs: pub fn clipped_surrogate
//! Read: book/src/08_trying.md: ## PPO: a fence instead of a wall

use candle_core::{Result, Tensor};

/// PPO's loss of each token, from log-probabilities and `advantages`, all of one shape.
pub fn ratios_that_run_away(
    new: &Tensor,
    old: &Tensor,
    advantages: &Tensor,
    clip: f64,
) -> Result<Tensor> {
    let ratio = (new - old)?.exp()?;
    let free = (&ratio * advantages)?;
    let bounded = (ratio.clamp(1. - clip, 1. + clip)? * advantages)?;
    // BUG
    free.minimum(&bounded)?.neg()
    //| free.maximum(&bounded)?.neg()
    // END
}

// GRADE

use candle_core::Device;
use ppo::{Clip, clipped_surrogate};

use crate::grading::{Answers, Fill, Wrong};

type Loss = fn(&Tensor, &Tensor, &Tensor, f64) -> Result<Tensor>;

/// Grader. The reference is part 8's.
pub const GRADE: Fill<Loss> = Fill {
    cases,
    reference: |new, old, advantages, clip| {
        clipped_surrogate(new, old, advantages, Clip::symmetric(clip))
    },
    tolerance: 1e-9,
    wrong: &[
        Wrong {
            f: |new, old, advantages, clip| {
                let ratio = (new - old)?.exp()?;
                (ratio.clamp(1. - clip, 1. + clip)? * advantages)?.neg()
            },
            says: "the clipped product alone: a token that moved the wrong way gets no gradient \
                   back",
            read: "",
        },
        Wrong {
            f: |new, old, advantages, _clip| ((new - old)?.exp()? * advantages)?.neg(),
            says: "the free product alone: nothing holds the ratio any more",
            read: "",
        },
        Wrong {
            f: |new, old, advantages, clip| ratios_that_run_away(new, old, advantages, clip)?.neg(),
            says: "the sign: the objective is to be raised, so the loss is its negative",
            read: "",
        },
    ],
};

fn cases(f: Loss, answers: &mut Answers) {
    let tensor = |cells: &[f64]| Tensor::from_slice(cells, cells.len(), &Device::Cpu);
    let numbers = || -> Result<[Tensor; 3]> {
        let old = tensor(&[-1.; 6])?;
        let new = (&old + tensor(&[0., 1.1, 1.1, -1.1, -1.1, 0.1])?)?;
        Ok([new, old, tensor(&[1., 1., -1., 1., -1., 1.])?])
    };
    let [new, old, advantages] = numbers().expect("six numbers");
    answers.record("losses of six tokens", || f(&new, &old, &advantages, 0.2));
    answers.gradient("their gradients", &new, |new| f(new, &old, &advantages, 0.2));
}
