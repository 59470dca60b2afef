//! loss = mean over real targets t of −log softmax(x)ₜ = log Σⱼ exp(xⱼ) − xₜ.

use candle_core::{D, DType, Result, Tensor, bail};

/// A target with this value is no target: its row does not count. PyTorch's convention.
pub const IGNORE_INDEX: i64 = -100;

/// The mean cross-entropy in nats of `logits: (.., V)` against `targets: (..)` (i64, [`IGNORE_INDEX`] left out).
///
/// Without any real target the loss is 0 (and so is its gradient), not NaN.
///
/// # Errors
/// When the shapes do not fit, or a target lies outside the vocabulary.
pub fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let v = logits.dim(D::Minus1)?;
    if logits.dims()[..logits.rank() - 1] != *targets.dims() {
        let (x, t) = (logits.dims(), targets.dims());
        bail!("cross_entropy: logits {x:?} do not fit targets {t:?}");
    }
    let logits = logits.reshape(((), v))?; // (N, V)
    let targets = targets.flatten_all()?.to_dtype(DType::I64)?; // (N)
    let real = targets.ne(IGNORE_INDEX)?; // (N), 1 where there is a target
    let targets = real.where_cond(&targets, &targets.zeros_like()?)?;

    let max = logits.detach().max_keepdim(D::Minus1)?; // (N, 1)
    let shifted = logits.broadcast_sub(&max)?; // so that exp cannot overflow
    let log_sum = shifted.exp()?.sum(D::Minus1)?.log()?; // (N)
    let chosen = shifted.gather(&targets.unsqueeze(1)?, 1)?.squeeze(1)?; // (N)
    let real = real.to_dtype(logits.dtype())?;
    let count = real.sum_all()?.maximum(1.)?;
    ((log_sum - chosen)? * &real)?.sum_all()? / count
}
