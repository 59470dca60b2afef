//! 8.4 GAE by hand (predict, 10 minutes, ●●○)
//!
//! A completion of two tokens gets the reward 10 at its end. Its tokens pay KL penalties of 0.1 and
//! 0.2, which are subtracted from their rewards. The critic's values are V₁ = 1 before the first
//! token and V₂ = 2 before the second, and γ = λ = 0.9. With r the reward of a token less its
//! penalty,
//!
//!     δ = r + γ V(next) − V        A = δ + γ λ A(next)        return = A + V
//!
//! Take a sheet of paper; two decimals are enough.
//!
//! Hint: Begin at the end. What are V(next) and A(next) of the last token?
//! Hint: A₂ = δ₂ = (10 − 0.2) − 2, since nothing comes after it. Then δ₁ = −0.1 + γ V₂ − V₁.
//! Hint: A₁ = δ₁ + γ λ A₂ = (−0.1 + 0.9 · 2 − 1) + 0.81 · 7.8.
//! Read: crates/part_8_ppo/src/gae.rs: pub fn gae
//! Read: book/src/08_trying.md: ## From values to advantages: TD, n steps, GAE

use candle_core::{Device, Result, Tensor};
use ppo::{GaeConfig, gae};

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    let [first, last, first_return] = worked().expect("two numbers");
    vec![
        Prediction::number("The advantage of the last token?", last, 5e-3, "10 − 0.2 − 2 = 7.8.")
            .trap(9.8, "that is its return; the value 2 is to be subtracted")
            .trap(8., "the KL penalty of 0.2 is missing"),
        Prediction::number(
            "The advantage of the first token?",
            first,
            5e-3,
            "0.7 + 0.81 · 7.8 = 7.018.",
        )
        .trap(0.7 + 0.9 * 7.8, "A[t + 1] is multiplied with γ λ, not with γ alone")
        .trap(0.7, "that is δ alone, as with λ = 0")
        .trap(0.7 + 7.8, "A[t + 1] is multiplied with γ λ = 0.81")
        .trap(0.8 + 0.81 * 7.8, "the KL penalty of 0.1 is missing")
        .trap(0.7 + 0.81 * 8., "the KL penalty of 0.2 is missing in the advantage of the last one"),
        Prediction::number(
            "The return of the first token, to which its value is trained?",
            first_return,
            5e-3,
            "A + V = 7.018 + 1.",
        )
        .trap(10., "that is the reward; with λ < 1 the return leans on the values")
        .trap(first, "that is the advantage; the value is to be added"),
    ]
}

fn worked() -> Result<[f64; 3]> {
    let row = |cells: [f64; 2]| Tensor::new(&[cells], &Device::Cpu);
    let end = Tensor::new(&[0f64], &Device::Cpu)?;
    let config = GaeConfig { gamma: 0.9, lambda: 0.9 };
    let output = gae(&row([-0.1, 9.8])?, &row([1., 2.])?, &end, &row([1., 1.])?, config)?;
    let (advantages, returns) =
        (output.advantages.to_vec2::<f64>()?, output.returns.to_vec2::<f64>()?);
    Ok([advantages[0][0], advantages[0][1], returns[0][0]])
}
