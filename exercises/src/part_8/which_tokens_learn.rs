//! 8.7 Five tokens: which do not learn? (predict, 8 minutes, ●●○)
//!
//! PPO's loss of a token is −min(ρ A, clip(ρ, 0.8, 1.2) A). Five tokens:
//!
//!     token   1     2     3     4     5
//!     ρ      1.0   1.5   1.5   0.5   0.5
//!     A      +1    +1    −1    +1    −1
//!
//! Hint: Where the clipped product is the smaller one, ρ does not appear, and the gradient is 0.
//! Hint: For A > 0 the clipped product is smaller when ρ > 1.2; for A < 0, when ρ < 0.8.
//! Hint: Token 2 has min(1.5, 1.2) = 1.2, token 3 min(−1.5, −1.2) = −1.5.
//! Read: crates/part_8_ppo/src/losses.rs: pub fn clipped_surrogate
//! Read: book/src/08_trying.md: ## PPO: a fence instead of a wall

use candle_core::{Device, Result, Tensor, Var};
use ppo::{Clip, clipped_surrogate};
use tensor_core::backward;

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    let silent = silent().expect("five numbers");
    let names: f64 = silent.iter().fold(0., |number, token| 10. * number + *token as f64);
    vec![
        Prediction::number(
            "How many of the five get no gradient?",
            silent.len() as f64,
            0.,
            "Two: those that have moved the right way, and far enough.",
        )
        .trap(4., "all but the first are outside the range; the min lets some of them back in")
        .trap(0., "clip is constant outside its range"),
        Prediction::number(
            "Which? Write their numbers as one, smallest first: 12 for tokens 1 and 2.",
            names,
            0.,
            "Token 2: good and already likelier. Token 5: bad and already less likely.",
        )
        .trap(34., "just the other two: 3 is bad and has become likelier, so it must learn")
        .trap(23., "3 is bad and has become likelier: it must learn, at full strength")
        .trap(24., "4 is good and has become less likely: it must learn, at full strength")
        .trap(35., "3 is bad and has become likelier: it must learn, at full strength")
        .trap(45., "4 is good and has become less likely: it must learn, at full strength")
        .trap(52., "these are the two; the smaller number first"),
    ]
}

/// Tokens without gradient, counted from 1.
fn silent() -> Result<Vec<usize>> {
    let ratios = Tensor::new(&[1., 1.5, 1.5, 0.5, 0.5f64], &Device::Cpu)?;
    let advantages = Tensor::new(&[1., 1., -1., 1., -1f64], &Device::Cpu)?;
    let new = Var::from_tensor(&ratios.log()?)?;
    let old = ratios.zeros_like()?;
    let loss = clipped_surrogate(new.as_tensor(), &old, &advantages, Clip::symmetric(0.2))?;
    let grads = backward(&loss.sum_all()?)?;
    let gradient = grads.get(new.as_tensor()).map_or(Ok(vec![0.; 5]), |grad| grad.to_vec1::<f64>());
    Ok((1..).zip(gradient?).filter(|(_, grad)| *grad == 0.).map(|(token, _)| token).collect())
}
