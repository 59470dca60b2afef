//! 8.7 Six tokens: which do not learn? (predict, 8 minutes, ●●○)
//!
//! PPO's loss of a token is −min(ρ A, clip(ρ, 1 − ε₁, 1 + ε₂) A), and the two ε need not be equal:
//! here ε₁ = 0.2 and ε₂ = 0.28, so that ρ is clipped to 0.8 and 1.28. Six tokens:
//!
//!     token    1      2      3      4      5      6
//!     ρ       1.25   1.30   0.79   0.85   1.35   0.70
//!     A        +1     −2     −1     +2    +½      +1
//!
//! Hint: Where the clipped product is the smaller one, ρ does not appear, and the gradient is 0.
//! Hint: For A > 0 the clipped product is smaller when ρ > 1.28; for A < 0, when ρ < 0.8.
//! Hint: Where ρ A counts, its derivative by log π is ρ A again: ρ = exp(log π − log π_old).
//! Read: crates/part_8_ppo/src/losses.rs: pub fn clipped_surrogate
//! Read: book/src/08_trying.md: ## PPO: a fence instead of a wall

use candle_core::{Device, Result, Tensor, Var};
use ppo::{Clip, clipped_surrogate};
use tensor_core::backward;

use crate::grading::Prediction;

/// Ratios and advantages of the six tokens.
const RATIOS: [f64; 6] = [1.25, 1.3, 0.79, 0.85, 1.35, 0.7];
const ADVANTAGES: [f64; 6] = [1., -2., -1., 2., 0.5, 1.];

/// Sentence for each token, for those who name it wrongly or miss it.
const OVERLOOKED: [&str; 6] = [
    "token 1 has a gradient: A > 0, and 1.25 is not beyond 1.28",
    "token 2 has a gradient: A < 0 and ρ > 1.28. It is bad and has become likelier, so it must \
     learn, at full strength",
    "token 3 has none: A < 0 and ρ < 0.8. It is bad and has become less likely, far enough",
    "token 4 has a gradient: 0.85 is inside the range",
    "token 5 has none: A > 0 and ρ > 1.28. It is good and has become likelier, far enough",
    "token 6 has a gradient: A > 0 and ρ < 0.8. It is good and has become less likely, so it must \
     learn",
];

/// Questions.
pub fn questions() -> Vec<Prediction> {
    let gradients = gradients().expect("six numbers");
    let silent: Vec<usize> =
        (1..).zip(gradients).filter(|(_, g)| *g == 0.).map(|(i, _)| i).collect();
    let mut which = Prediction::number(
        "Which? Write their numbers as one, smallest first: 12 (or 1,2) for tokens 1 and 2.",
        code(&silent),
        0.,
        "Token 3: bad and already less likely. Token 5: good and already likelier.",
    )
    .list();
    let n_subsets = 1_usize << RATIOS.len();
    for subset in 1..n_subsets {
        let is_named = |token: &usize| (subset >> (token - 1)) & 1 == 1;
        let named: Vec<usize> = (1..=RATIOS.len()).filter(is_named).collect();
        // First a token that has a gradient and is named, then one without that is not.
        let wrong = named.iter().find(|i| !silent.contains(i));
        if let Some(token) = wrong.or_else(|| silent.iter().find(|i| !named.contains(i))) {
            which = which.trap(code(&named), OVERLOOKED[token - 1]);
        }
    }
    vec![
        Prediction::number(
            "How many of the six get no gradient?",
            silent.len() as f64,
            0.,
            "Two: those that have moved the right way, and far enough.",
        )
        .trap(0., "clip is constant outside its range")
        .trap(3., "token 1 is none of them: 1.25 is not beyond 1.28, as it would be beyond 1.2")
        .trap(4., "four are outside the range; the min lets two of them back in")
        .trap(
            5.,
            "with ε = 0.2 above, five would be outside; and the min lets some of them back in",
        ),
        which.trap(53., "these are the two; the smaller number first"),
        Prediction::number(
            "What is the derivative of token 4's loss by its log π?",
            gradients[3],
            5e-3,
            "−ρ A = −0.85 · 2: ρ is inside the range, so ρ A counts, and ∂ρ/∂ log π = ρ.",
        )
        .trap(1.7, "the sign: the loss is −ρ A")
        .trap(-2., "that is the derivative by ρ; by log π it is ρ times that")
        .trap(0., "0.85 is inside the range, so the token learns")
        .trap(-1.6, "0.8 is where the clip begins; ρ itself is 0.85"),
    ]
}

/// Numbers of tokens, written as one.
fn code(tokens: &[usize]) -> f64 {
    tokens.iter().fold(0., |number, token| 10. * number + *token as f64)
}

/// Derivative of each token's loss by its log-probability.
fn gradients() -> Result<[f64; 6]> {
    let new = Var::from_tensor(&Tensor::new(&RATIOS, &Device::Cpu)?.log()?)?;
    let old = new.as_tensor().zeros_like()?;
    let advantages = Tensor::new(&ADVANTAGES, &Device::Cpu)?;
    let clip = Clip { low: 0.2, high: 0.28 };
    let loss = clipped_surrogate(new.as_tensor(), &old, &advantages, clip)?;
    let gradients = backward(&loss.sum_all()?)?;
    let Some(gradients) = gradients.get(new.as_tensor()) else { return Ok([0.; 6]) };
    let gradients = gradients.to_vec1::<f64>()?;
    Ok([0, 1, 2, 3, 4, 5].map(|i| gradients[i]))
}
