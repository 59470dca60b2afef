//! 8.4 Generalized advantage estimation, GAE (Schulman et al., <https://arxiv.org/abs/1506.02438>):
//! how much better a token was than expected.
//!
//! ```text
//! δ_t = r_t + γ V(s_{t+1}) − V(s_t)
//! A_t = δ_t + γ λ A_{t+1}              R_t = A_t + V(s_t), the target of the value
//! ```
//!
//! V(s_t) is the value before token t. After a terminated completion V = 0. A truncated one would
//! have continued, so its value at the cut stands for the rest (the bootstrap). λ = 1 uses the
//! rewards alone (Monte Carlo), λ = 0 one reward and the next value (one-step TD).

use candle_core::{Result, Tensor};

use crate::masked::masked;

/// Advantages and returns per token, 0 at padding.
#[derive(Debug, Clone)]
pub struct GaeOutput {
    /// Advantages A: (R, T).
    pub advantages: Tensor,
    /// Returns, the targets of the value function: (R, T).
    pub returns: Tensor,
}

/// Constants of generalized advantage estimation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GaeConfig {
    /// Discount factor γ.
    pub gamma: f64,
    /// GAE λ: 0 = one-step TD, 1 = Monte Carlo.
    pub lambda: f64,
}

/// Advantages and returns from `rewards` and `values`, both (R, T), at the tokens of `mask: (R,
/// T)`, whose rows are filled from the left. `bootstrap: (R)` is the value after the last token: 0
/// for a terminated completion.
///
/// # Errors
/// When the shapes do not fit.
pub fn gae(
    rewards: &Tensor,
    values: &Tensor,
    bootstrap: &Tensor,
    mask: &Tensor,
    config: GaeConfig,
) -> Result<GaeOutput> {
    let GaeConfig { gamma, lambda } = config;
    let (_r, t) = rewards.dims2()?;
    // ANCHOR: gae
    let mut next_value = bootstrap.clone(); // (R)
    let mut next_advantage = bootstrap.zeros_like()?;
    let mut advantages = Vec::with_capacity(t);
    for t in (0..t).rev() {
        let column = |x: &Tensor| x.narrow(1, t, 1)?.squeeze(1); // (R)
        let (reward, value, real) = (column(rewards)?, column(values)?, column(mask)?.ne(0.)?);
        let delta = ((reward + (&next_value * gamma)?)? - &value)?;
        let advantage = (delta + (&next_advantage * (gamma * lambda))?)?;
        // Padding changes neither, so the last token sees the bootstrap value.
        next_value = real.where_cond(&value, &next_value)?;
        next_advantage = real.where_cond(&advantage, &next_advantage)?;
        advantages.push(advantage);
    }
    // ANCHOR_END: gae
    advantages.reverse();
    let advantages = masked(&Tensor::stack(&advantages, 1)?, mask)?; // (R, T)
    let returns = masked(&(&advantages + values)?, mask)?;
    Ok(GaeOutput { advantages, returns })
}
