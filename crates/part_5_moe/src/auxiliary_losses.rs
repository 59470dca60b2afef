//! 5.1 Losses that keep a router honest; pure functions of what it said.
//!
//! ```text
//! load balancing   E · Σₑ fₑ Pₑ      fₑ = share of all N K choices that fell on e,  Pₑ = mean of p over the tokens
//! router z-loss    mean of (log Σₑ exp logitₑ)²
//! ```
//!
//! The first is Switch's (Fedus et al., <https://arxiv.org/abs/2101.03961>, equations 4 to 6): 1 when everything is even, E when
//! one expert gets everything. f counts and has no gradient; P has one. transformers divides the counts by N alone, so theirs is
//! K times ours; it also takes all layers for one, in which layers that are uneven in opposite ways look even. Here a loss is a
//! layer's. The second keeps logits small (ST-MoE, Zoph et al., <https://arxiv.org/abs/2202.08906>, equation 5).

use candle_core::{D, DType, Result, Tensor, bail};

/// The load-balancing loss of `probabilities: (N, E)`, of all experts, and `experts: (N, K)`, the chosen ones. Where `real` is
/// given, tokens that are not (padding) count for nothing.
///
/// # Errors
/// When sizes do not fit.
pub fn load_balancing_loss(
    probabilities: &Tensor,
    experts: &[u32],
    real: Option<&[bool]>,
) -> Result<Tensor> {
    let (n, e) = probabilities.dims2()?;
    let fit = n > 0 && !experts.is_empty() && experts.len().is_multiple_of(n);
    if !fit || real.is_some_and(|real| real.len() != n) {
        bail!("load_balancing_loss: {} choices for {n} tokens", experts.len());
    }
    let k = experts.len() / n;
    let is_real = |token: usize| real.is_none_or(|real| real[token]);
    let tokens = (0..n).filter(|&token| is_real(token)).count();
    let mut counts = vec![0u32; e];
    for (slot, &expert) in experts.iter().enumerate() {
        if is_real(slot / k) {
            counts[expert as usize] += 1;
        }
    }
    let (dtype, device) = (probabilities.dtype(), probabilities.device());
    let share = |count: &u32| f64::from(*count) / (tokens.max(1) * k) as f64;
    let f: Vec<f64> = counts.iter().map(share).collect();
    let f = Tensor::new(f, device)?.to_dtype(dtype)?; // (E)
    let p = mean_over_tokens(probabilities, real, tokens)?; // (E)
    (f * p)?.sum_all()? * e as f64
}

/// The router z-loss of `logits: (N, E)`; `real` as above.
///
/// # Errors
/// When sizes do not fit.
pub fn router_z_loss(logits: &Tensor, real: Option<&[bool]>) -> Result<Tensor> {
    let (n, _e) = logits.dims2()?;
    let max = logits.detach().max_keepdim(D::Minus1)?; // (N, 1), needs no gradient
    let sum = logits.broadcast_sub(&max)?.exp()?.sum_keepdim(D::Minus1)?; // (N, 1)
    let log_sum = (sum.log()? + max)?;
    let tokens = real.map_or(n, |real| real.iter().filter(|&&real| real).count());
    mean_over_tokens(&log_sum.sqr()?, real, tokens)?.sum_all()
}

/// The mean over the real ones of N tokens of `x: (N, M)`: (M).
fn mean_over_tokens(x: &Tensor, real: Option<&[bool]>, tokens: usize) -> Result<Tensor> {
    let Some(real) = real else { return x.mean(0) };
    let (n, _m) = x.dims2()?;
    let kept = real.iter().map(|&real| f32::from(u8::from(real)));
    let kept = Tensor::from_iter(kept, x.device())?.to_dtype(DType::F32)?.to_dtype(x.dtype())?;
    x.broadcast_mul(&kept.reshape((n, 1))?)?.sum(0)? / tokens.max(1) as f64
}
