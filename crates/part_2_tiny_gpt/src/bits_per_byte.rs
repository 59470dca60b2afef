//! 2.3 Bits per byte: the loss in a unit that does not depend on the tokenizer. The loss per token
//! does, and so does the perplexity exp(loss): a longer token is harder to predict.
//!
//! bits per byte = loss / log 2 · tokens / bytes. The uniform distribution over bytes has 8.

use std::f64::consts::LN_2;

/// Bits per byte of a loss in nats per token, where `tokens` tokens encode `bytes` bytes of text.
pub fn bits_per_byte(nats_per_token: f64, tokens: usize, bytes: usize) -> f64 {
    nats_per_token / LN_2 * tokens as f64 / bytes as f64
}
