//! 8.4 GAE by hand (predict, 10 minutes, ●●○)
//!
//! A completion was cut off after three tokens. So it gets no score, and the critic's value behind
//! the cut, 4, stands for what would have come (`--truncation bootstrap`). Its tokens pay KL
//! penalties of 0.2, 0.1 and 0.3, which are subtracted from their rewards. The critic's values are
//! V₁ = 2, V₂ = 1 and V₃ = 3, each before its token; γ = 0.9 and λ = 0.5. With r the reward of a
//! token, here its penalty with a minus,
//!
//!     δ = r + γ V(next) − V        A = δ + γ λ A(next)        return = A + V
//!
//! Take a sheet of paper; two decimals are enough.
//!
//! Hint: Begin at the end. What are V(next) and A(next) of the last token?
//! Hint: A₃ = δ₃ = −0.3 + 0.9 · 4 − 3: a value stands behind the cut, but no advantage. Then
//! δ₂ = −0.1 + 0.9 · 3 − 1 and δ₁ = −0.2 + 0.9 · 1 − 2.
//! Hint: A₂ = 1.6 + 0.45 · 0.3 and A₁ = −1.3 + 0.45 · A₂.
//! Read: crates/part_8_ppo/src/gae.rs: pub fn gae
//! Read: book/src/08_trying.md: ## From values to advantages: TD, n steps, GAE

use candle_core::{Device, Result, Tensor};
use ppo::{GaeConfig, gae};

use crate::grading::Prediction;

/// Values before the three tokens, and behind the cut.
const VALUES: [f64; 3] = [2., 1., 3.];
const BEHIND: f64 = 4.;
/// KL penalties of the three tokens.
const PENALTIES: [f64; 3] = [0.2, 0.1, 0.3];
const GAMMA: f64 = 0.9;
const LAMBDA: f64 = 0.5;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    let worked = |penalties, behind, lambda| {
        advantages(penalties, behind, lambda).expect("three advantages")
    };
    let [first, second, last] = worked(PENALTIES, BEHIND, LAMBDA);
    let ended = worked(PENALTIES, 0., LAMBDA);
    let free = worked([0.; 3], BEHIND, LAMBDA);
    let by_gamma = worked(PENALTIES, BEHIND, 1.)[0];
    let deltas = worked(PENALTIES, BEHIND, 0.);
    vec![
        Prediction::number(
            "The advantage of the last token?",
            last,
            5e-3,
            "−0.3 + 0.9 · 4 − 3 = 0.3.",
        )
        .trap(ended[2], "that is for a completion that has ended; at a cut, V(next) is 4")
        .trap(free[2], "the KL penalty of 0.3 is missing")
        .trap(BEHIND - 0.3 - VALUES[2], "the value behind the cut counts γ V(next) = 0.9 · 4")
        .trap(last + GAMMA * LAMBDA * BEHIND, "behind the cut stands a value; A(next) is 0 there"),
        Prediction::number(
            "The advantage of the first token?",
            first,
            5e-3,
            "−1.3 + 0.45 · 1.735 = −0.519: it led from a text worth 2 to one worth 1.",
        )
        .trap(deltas[0], "that is δ alone, as with λ = 0")
        .trap(by_gamma, "A(next) is multiplied with γ λ = 0.45, not with γ alone")
        .trap(
            deltas[0] + LAMBDA * (deltas[1] + LAMBDA * deltas[2]),
            "A(next) is multiplied with γ λ = 0.45, not with λ alone",
        )
        .trap(
            deltas[0] + GAMMA * LAMBDA * deltas[1],
            "A₂ is more than δ₂: it has a part of A₃ in it",
        )
        .trap(free[0], "the KL penalties are missing")
        .trap(ended[0], "that is for a completion that has ended; behind a cut stands a value")
        .trap(second, "that is A₂, of the second token"),
        Prediction::number(
            "The return of the first token, to which its value is trained?",
            first + VALUES[0],
            5e-3,
            "A + V = −0.519 + 2.",
        )
        .trap(first, "that is the advantage; the value is to be added")
        .trap(
            by_gamma + VALUES[0],
            "that is what is paid, and the value at the cut, as with λ = 1; with λ < 1 the return \
             leans on the values between",
        ),
    ]
}

/// Advantages of the three tokens.
fn advantages(penalties: [f64; 3], behind: f64, lambda: f64) -> Result<[f64; 3]> {
    let row = |cells: [f64; 3]| Tensor::new(&[cells], &Device::Cpu);
    let end = Tensor::new(&[behind], &Device::Cpu)?;
    let config = GaeConfig { gamma: GAMMA, lambda };
    let rewards = row(penalties.map(|penalty| -penalty))?;
    let output = gae(&rewards, &row(VALUES)?, &end, &row([1.; 3])?, config)?;
    let advantages = output.advantages.to_vec2::<f64>()?;
    Ok([advantages[0][0], advantages[0][1], advantages[0][2]])
}
