//! 8.3 Generalised advantage estimation (Schulman et al., <https://arxiv.org/abs/1506.02438>): how much better a token was than
//! expected.
//!
//! ```text
//! δ_t = r_t + γ V(s_{t+1}) − V(s_t)
//! A_t = δ_t + γ λ A_{t+1}              R_t = A_t + V(s_t), what the value is to become
//! ```
//!
//! V(s_t) is what was expected before token t. After a response that ended itself nothing comes: V = 0. One that was cut off would
//! have gone on, so what was expected there stands for the rest (the bootstrap). λ = 1 trusts the rewards alone, λ = 0
//! the value alone.

use candle_core::{Result, Tensor};

use crate::masked::masked;

/// What came of the responses, token by token, 0 where there is none.
#[derive(Debug, Clone)]
pub struct GaeOutput {
    /// A: (R, T)
    pub advantages: Tensor,
    /// What the value function is to learn: (R, T)
    pub returns: Tensor,
}

/// How far rewards reach back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GaeConfig {
    /// γ: what a reward is worth a token later.
    pub gamma: f64,
    /// λ: how far rewards are trusted over values.
    pub lambda: f64,
}

/// The advantages of responses with `rewards` and `values`, both (R, T), at the tokens of `mask: (R, T)`, whose rows are filled from
/// the left; `bootstrap: (R)` is the value of what would have followed: 0 where nothing would.
///
/// # Errors
/// When the shapes do not fit.
pub fn gae(
    rewards: &Tensor,
    values: &Tensor,
    bootstrap: &Tensor,
    mask: &Tensor,
    discount: GaeConfig,
) -> Result<GaeOutput> {
    let GaeConfig { gamma, lambda } = discount;
    let (_r, t) = rewards.dims2()?;
    let mut next_value = bootstrap.clone(); // (R)
    let mut next_advantage = bootstrap.zeros_like()?;
    let mut advantages = Vec::with_capacity(t);
    for t in (0..t).rev() {
        let column = |x: &Tensor| x.narrow(1, t, 1)?.squeeze(1); // (R)
        let (reward, value, real) = (column(rewards)?, column(values)?, column(mask)?.ne(0.)?);
        let delta = ((reward + (&next_value * gamma)?)? - &value)?;
        let advantage = (delta + (&next_advantage * (gamma * lambda))?)?;
        // Padding changes neither: its neighbour on the left is the last token.
        next_value = real.where_cond(&value, &next_value)?;
        next_advantage = real.where_cond(&advantage, &next_advantage)?;
        advantages.push(advantage);
    }
    advantages.reverse();
    let advantages = masked(&Tensor::stack(&advantages, 1)?, mask)?; // (R, T)
    let returns = masked(&(&advantages + values)?, mask)?;
    Ok(GaeOutput { advantages, returns })
}
