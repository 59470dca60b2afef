//! Code that the five exercises are given: statistics under a mask, answers of GSM8K, collation,
//! a mini-batch.

use candle_core::{D, Result, Tensor, bail};

/// Mean of `x` where `mask` is not 0, over dimension `dim` or over all; of all without a mask, and
/// 0 where nothing is left.
pub fn masked_mean(x: &Tensor, mask: Option<&Tensor>, dim: Option<usize>) -> Result<Tensor> {
    let ones = || x.ones_like();
    let mask = mask.map_or_else(ones, |mask| mask.ne(0.)?.to_dtype(x.dtype()))?;
    let kept = mask.ne(0.)?.where_cond(x, &x.zeros_like()?)?;
    match dim {
        Some(dim) => kept.sum(dim)? / mask.sum(dim)?.maximum(1.)?,
        None => kept.sum_all()? / mask.sum_all()?.maximum(1.)?,
    }
}

/// `x` with mean 0 and variance 1 over `mask`, and 0 elsewhere; with `shift_mean` off the mean
/// stays.
pub fn masked_whiten(
    x: &Tensor,
    mask: &Tensor,
    shift_mean: ppo::masked::ShiftMean,
) -> Result<Tensor> {
    ppo::masked_whiten(x, mask, shift_mean)
}

/// Answer of a GSM8K completion: the number after `####`, or else the last number. A number stands
/// between spaces; commas and `$` in it do not count.
pub fn extract_gsm8k_solution(text: &str) -> Option<f64> {
    let number = |word: &str| {
        let word = word.replace([',', '$'], "");
        let is_plain = word.chars().all(|c| c.is_ascii_digit() || "+-.eE".contains(c));
        word.parse::<f64>().ok().filter(|_| is_plain)
    };
    match text.split_once("####") {
        Some((_, after)) => number(after.split_whitespace().next()?),
        None => text.split_whitespace().rev().find_map(number),
    }
}

/// 1 if `text` has the answer `truth`, else 0.
pub fn compute_gsm8k_reward(text: &str, truth: &str) -> f64 {
    match (extract_gsm8k_solution(text), extract_gsm8k_solution(truth)) {
        (Some(a), Some(b)) => f64::from(u8::from((a - b).abs() <= 1e-9 * a.abs().max(b.abs()))),
        _ => 0.,
    }
}

/// Tensors (B_i, L_i, ..) as one, padded with `value` on the right of dimension 1.
pub fn pad_and_collate_tensors(tensors: &[Tensor], value: f64) -> Result<Tensor> {
    let longest = tensors.iter().map(|x| x.dim(1)).collect::<Result<Vec<_>>>()?;
    let Some(longest) = longest.into_iter().max() else { bail!("there is nothing to collate") };
    let padded = tensors.iter().map(|x| {
        let mut shape = x.dims().to_vec();
        shape[1] = longest - shape[1];
        let padding = (Tensor::ones(shape, x.dtype(), x.device())? * value)?;
        Tensor::cat(&[x, &padding], 1)
    });
    Tensor::cat(&padded.collect::<Result<Vec<_>>>()?, 0)
}

/// Mini-batch of B completions of L tokens; the model sees C features before each token.
#[derive(Debug, Clone)]
pub struct MiniBatch {
    /// Features before each token, (B, L, C).
    pub features: Tensor,
    /// Tokens that were sampled, (B, L), u32.
    pub tokens: Tensor,
    /// Their log-probabilities when they were sampled, (B, L).
    pub old_log_probs: Tensor,
    /// Values when they were sampled, (B, L).
    pub old_values: Tensor,
    /// Advantages, (B, L).
    pub advantages: Tensor,
    /// Returns, (B, L).
    pub returns: Tensor,
    /// 1 at tokens, 0 at padding, (B, L).
    pub mask: Tensor,
}

/// Settings of an update.
#[derive(Debug, Clone, Copy)]
pub struct UpdateSettings {
    /// Clip range of the ratio.
    pub clip_ratio: f64,
    /// Clip range of the values.
    pub clip_range_value: f64,
    /// Coefficient of the value loss.
    pub vf_coeff: f64,
    /// Coefficient of the entropy loss.
    pub entropy_coeff: f64,
    /// Largest norm of the gradient.
    pub max_grad_norm: f64,
    /// Learning rate.
    pub lr: f64,
}

/// Logits (B, L, V) and values (B, L) of a model whose weights are `policy: (C, V)` and `value: (C,
/// 1)`.
pub fn forward(policy: &Tensor, value: &Tensor, features: &Tensor) -> Result<(Tensor, Tensor)> {
    Ok((features.broadcast_matmul(policy)?, features.broadcast_matmul(value)?.squeeze(D::Minus1)?))
}

/// Log-probabilities (B, L) of `tokens: (B, L)` under `logits: (B, L, V)`.
pub fn gather_log_probs(logits: &Tensor, tokens: &Tensor) -> Result<Tensor> {
    let log_probs = tensor_core::ops::log_softmax(logits)?;
    log_probs.gather(&tokens.unsqueeze(D::Minus1)?.contiguous()?, D::Minus1)?.squeeze(D::Minus1)
}
