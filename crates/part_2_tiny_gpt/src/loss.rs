//! 2.3 The loss: how surprised the model is by each next token, in nats.
//!
//! loss = mean of −log p(target). A model that knows nothing pays log V: 5.545 for 256 bytes. The lesson is written
//! out here; training uses [`cross_entropy`](fn@tensor_core::ops::cross_entropy), which also leaves masked targets out.

use std::f64::consts::LN_2;

use candle_core::{D, Result, Tensor};

/// The mean cross-entropy of `logits: (B, T, V)` against `targets: (B, T)` (i64), all of them real.
pub fn next_token_loss(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let max = logits.detach().max_keepdim(D::Minus1)?; // (B, T, 1); changes no probability
    let shifted = logits.broadcast_sub(&max)?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?; // (B, T, 1)
    let log_probabilities = shifted.broadcast_sub(&log_sum)?; // (B, T, V)
    log_probabilities.gather(&targets.unsqueeze(D::Minus1)?, D::Minus1)?.mean_all()?.neg()
}

/// Nats per token as bits per byte, the unit that does not depend on the tokenizer: `tokens` tokens stood for
/// `bytes` bytes of text.
pub fn bits_per_byte(nats_per_token: f64, tokens: usize, bytes: usize) -> f64 {
    nats_per_token / LN_2 * tokens as f64 / bytes as f64
}
