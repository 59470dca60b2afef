//! 2.3 Cross-entropy: the loss of next-token prediction, in nats. It is 0 if the model gives each
//! target the probability 1, and log V, 5.545 for 256 bytes, for the uniform distribution.
//!
//! ```text
//! loss = − mean over targets t of log softmax(x)ₜ        log softmax(x)ᵢ = xᵢ − log Σⱼ exp(xⱼ)
//! grad x = (softmax(x) − onehot(t)) / number of targets
//! ```
//!
//! The logarithm is taken inside: a token 104 below the maximum has the probability 0 in f32, whose
//! log is −∞, while its log-softmax is −104. (Bengio et al., "A Neural Probabilistic Language
//! Model", <https://www.jmlr.org/papers/v3/bengio03a.html>.)

use candle_core::{D, Result, Tensor};

/// Log-probabilities `(.., V)` of each row of `logits: (.., V)`: the logarithm of their
/// [`softmax`](fn@crate::softmax::softmax).
pub fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let max = logits.detach().max_keepdim(D::Minus1)?; // (.., 1); it cancels: no gradient
    let shifted = logits.broadcast_sub(&max)?; // (.., V)
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?; // (.., 1)
    shifted.broadcast_sub(&log_sum) // (.., V)
}

// ANCHOR: cross_entropy
/// Mean cross-entropy of `logits: (B, T, V)` against `targets: (B, T)` (i64), without a mask.
/// Reference for the fused [`ops::cross_entropy`](fn@tensor_core::ops::cross_entropy), which
/// training (2.4) and evaluation (2.6) call and which also leaves out masked targets.
pub fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let log_probs = log_softmax(logits)?; // (B, T, V)
    let targets = targets.unsqueeze(D::Minus1)?; // (B, T, 1)
    log_probs.gather(&targets, D::Minus1)?.mean_all()?.neg() // (B, T, 1) -> ()
}
// ANCHOR_END: cross_entropy
