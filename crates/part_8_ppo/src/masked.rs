//! 8.3 Means over the tokens that count, and whitening by them.
//!
//! ```text
//! mean(x)      = Σ m x / Σ m
//! whiten(x)    = (x − mean(x)) / √(mean((x − mean(x))²) + 10⁻⁸)
//! ```
//!
//! What is masked out is never multiplied, it is replaced: 0 · NaN would be NaN. A mask of nothing has mean 0.

use candle_core::{D, DType, Result, Tensor};

/// What whitening does with the mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShiftMean {
    /// Becomes 0: advantages.
    Yes,
    /// Stays: rewards, whose sign says what is good (Huang et al., "The N implementation details of RLHF with PPO").
    No,
}

/// `x` where `mask` (of its shape) is not 0, else 0.
pub fn masked(x: &Tensor, mask: &Tensor) -> Result<Tensor> {
    mask.ne(0.)?.where_cond(x, &x.zeros_like()?)
}

/// The mean of `x` where `mask` (of its shape) is not 0: ().
pub fn masked_mean(x: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let x = masked(x, mask)?.flatten_all()?;
    masked_mean_along(&x, &mask.flatten_all()?, 0)
}

/// The same along dimension `dim`, which is gone from the result.
pub fn masked_mean_along(x: &Tensor, mask: &Tensor, dim: usize) -> Result<Tensor> {
    let count = mask.ne(0.)?.to_dtype(x.dtype())?.sum(dim)?.maximum(1.)?;
    masked(x, mask)?.sum(dim)? / count
}

/// `x` with variance 1 where `mask` (of its shape) is not 0, and 0 elsewhere. The variance is that of the numbers
/// themselves, divided by their count.
pub fn masked_whiten(x: &Tensor, mask: &Tensor, mean: ShiftMean) -> Result<Tensor> {
    let average = masked_mean(x, mask)?;
    let centred = x.broadcast_sub(&average)?;
    let variance = masked_mean(&centred.sqr()?, mask)?;
    let whitened = centred.broadcast_div(&(variance + 1e-8)?.sqrt()?)?;
    let whitened = match mean {
        ShiftMean::Yes => whitened,
        ShiftMean::No => whitened.broadcast_add(&average)?,
    };
    masked(&whitened, mask)
}

/// How many tokens of each row of `mask: (R, T)` count: R, on the host.
pub fn lengths(mask: &Tensor) -> Result<Vec<usize>> {
    let counts = mask.ne(0.)?.to_dtype(DType::F64)?.sum(D::Minus1)?.to_vec1::<f64>()?;
    Ok(counts.into_iter().map(|count| count as usize).collect())
}
