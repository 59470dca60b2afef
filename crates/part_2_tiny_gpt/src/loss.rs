//! 2.3 The loss: cross-entropy of the next token, in nats.
//!
//! loss = mean of −log p(target). The uniform distribution over V tokens has a loss of log V: 5.545
//! for 256 bytes. The formula is written out here; training uses
//! [`cross_entropy`](fn@tensor_core::ops::cross_entropy), which also excludes masked targets.

use std::f64::consts::LN_2;

use candle_core::{D, Result, Tensor};

/// Mean cross-entropy of `logits: (B, T, V)` against `targets: (B, T)` (i64), without a mask.
pub fn next_token_loss(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let max = logits.detach().max_keepdim(D::Minus1)?; // (B, T, 1); cancels in the softmax
    let shifted = logits.broadcast_sub(&max)?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?; // (B, T, 1)
    let log_probs = shifted.broadcast_sub(&log_sum)?; // (B, T, V)
    log_probs.gather(&targets.unsqueeze(D::Minus1)?, D::Minus1)?.mean_all()?.neg()
}

/// Bits per byte of a loss in nats per token, where `tokens` tokens encode `bytes` bytes of text.
/// The unit does not depend on the tokenizer.
pub fn bits_per_byte(nats_per_token: f64, tokens: usize, bytes: usize) -> f64 {
    nats_per_token / LN_2 * tokens as f64 / bytes as f64
}
