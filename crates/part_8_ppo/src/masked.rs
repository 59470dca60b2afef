//! 8.4 Masked mean and whitening: statistics over the tokens of completions, without padding.
//!
//! ```text
//! mean(x)      = Σ m x / Σ m
//! whiten(x)    = (x − mean(x)) / √(mean((x − mean(x))²) + 10⁻⁸)
//! ```
//!
//! Masked entries are replaced, not multiplied by 0, because 0 · NaN is NaN. The mean over an empty
//! mask is 0.

use candle_core::{Result, Tensor};

/// Whether whitening also shifts the mean to 0 (TRL's `shift_mean`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShiftMean {
    /// Mean 0, for advantages.
    Yes,
    /// Mean unchanged, for rewards, whose sign matters (Huang et al., "The N implementation details
    /// of RLHF with PPO").
    No,
}

/// `x` where `mask` (of its shape) is not 0, else 0.
pub fn masked(x: &Tensor, mask: &Tensor) -> Result<Tensor> {
    mask.ne(0.)?.where_cond(x, &x.zeros_like()?)
}

/// Mean of `x` where `mask` (of its shape) is not 0: ().
pub fn masked_mean(x: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let count = mask.ne(0.)?.to_dtype(x.dtype())?.flatten_all()?.sum(0)?.maximum(1.)?;
    masked(x, mask)?.flatten_all()?.sum(0)? / count
}

/// `x` scaled to variance 1 where `mask` (of its shape) is not 0, and 0 elsewhere. The variance is
/// divided by the count, not by the count less 1.
pub fn masked_whiten(x: &Tensor, mask: &Tensor, mean: ShiftMean) -> Result<Tensor> {
    let average = masked_mean(x, mask)?;
    let centered = x.broadcast_sub(&average)?;
    let variance = masked_mean(&centered.sqr()?, mask)?;
    let whitened = centered.broadcast_div(&(variance + 1e-8)?.sqrt()?)?;
    let whitened = match mean {
        ShiftMean::Yes => whitened,
        ShiftMean::No => whitened.broadcast_add(&average)?,
    };
    masked(&whitened, mask)
}
