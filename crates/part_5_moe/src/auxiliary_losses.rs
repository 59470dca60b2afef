//! 5.1 Auxiliary losses of a router, as pure functions of its outputs: one balances the load of the
//! experts, the other keeps the logits small.
//!
//! ```text
//! load-balancing loss   E · Σₑ fₑ Pₑ      fₑ = fraction of the N K assignments to expert e,
//!                                         Pₑ = mean of p over the tokens
//! router z-loss         mean of (log Σₑ exp logitₑ)²
//! ```
//!
//! The load-balancing loss is that of Switch Transformer (Fedus et al.,
//! <https://arxiv.org/abs/2101.03961>, equations 4 to 6): 1 when balanced, E when one expert gets
//! all tokens. f is a count without a gradient; the gradient flows through P. transformers divides
//! the counts by N, so its loss is K times this one. It also pools all layers, so that layers with
//! opposite imbalances appear balanced; here each layer has its own loss. The z-loss is that of
//! ST-MoE (Zoph et al., <https://arxiv.org/abs/2202.08906>, equation 5).

use candle_core::{D, DType, Result, Tensor, bail};

// ANCHOR: balance
/// Load-balancing loss of `probabilities: (N, E)` over all experts and the selected experts
/// `experts: (N, K)`. `mask` is false for padding tokens, which are excluded.
///
/// # Errors
/// When the sizes do not match.
pub fn load_balancing_loss(
    probabilities: &Tensor,
    experts: &[u32],
    mask: Option<&[bool]>,
) -> Result<Tensor> {
    let (n, e) = probabilities.dims2()?;
    let sizes_match = n > 0 && !experts.is_empty() && experts.len().is_multiple_of(n);
    if !sizes_match || mask.is_some_and(|mask| mask.len() != n) {
        bail!("load_balancing_loss: {} assignments do not match {n} tokens", experts.len());
    }
    let k = experts.len() / n;
    let is_counted = |token: usize| mask.is_none_or(|mask| mask[token]);
    let n_tokens = (0..n).filter(|&token| is_counted(token)).count();
    let mut counts = vec![0u32; e];
    for (slot, &expert) in experts.iter().enumerate() {
        if is_counted(slot / k) {
            counts[expert as usize] += 1;
        }
    }
    let (dtype, device) = (probabilities.dtype(), probabilities.device());
    let fraction = |count: &u32| f64::from(*count) / (n_tokens.max(1) * k) as f64;
    let f: Vec<f64> = counts.iter().map(fraction).collect();
    let f = Tensor::new(f, device)?.to_dtype(dtype)?; // (E)
    let p = mean_over_tokens(probabilities, mask, n_tokens)?; // (E)
    (f * p)?.sum_all()? * e as f64
}
// ANCHOR_END: balance

/// Router z-loss of `logits: (N, E)`. `mask` is false for padding tokens, which are excluded.
///
/// # Errors
/// When the sizes do not match.
pub fn router_z_loss(logits: &Tensor, mask: Option<&[bool]>) -> Result<Tensor> {
    let (n, _e) = logits.dims2()?;
    let max = logits.detach().max_keepdim(D::Minus1)?; // (N, 1), cancels in the gradient
    let sum = logits.broadcast_sub(&max)?.exp()?.sum_keepdim(D::Minus1)?; // (N, 1)
    let log_sum = (sum.log()? + max)?;
    let n_tokens = mask.map_or(n, |mask| mask.iter().filter(|&&counted| counted).count());
    mean_over_tokens(&log_sum.sqr()?, mask, n_tokens)?.sum_all()
}

/// Mean (M) of `x: (N, M)` over the `n_tokens` tokens whose `mask` is true.
fn mean_over_tokens(x: &Tensor, mask: Option<&[bool]>, n_tokens: usize) -> Result<Tensor> {
    let Some(mask) = mask else { return x.mean(0) };
    let (n, _m) = x.dims2()?;
    let mask = mask.iter().map(|&counted| f32::from(u8::from(counted)));
    let mask = Tensor::from_iter(mask, x.device())?.to_dtype(DType::F32)?.to_dtype(x.dtype())?;
    x.broadcast_mul(&mask.reshape((n, 1))?)?.sum(0)? / n_tokens.max(1) as f64
}
