//! 1.3 Single attention head in candle: the steps of 1.2, batched and with autograd.

use candle_core::{D, DType, Device, Module, Result, Tensor};
use tensor_core::{Bias, Init, Linear, Scope, ops};

/// Causal mask (T, T), added to the attention scores of `t` tokens: 0 where j ≤ i, −∞ where key j
/// is in the future of query i.
pub fn causal_mask(t: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    let cell = |i: usize| if i % t > i / t { f32::NEG_INFINITY } else { 0. };
    let mask: Vec<f32> = (0..t * t).map(cell).collect();
    Tensor::from_vec(mask, (t, t), device)?.to_dtype(dtype)
}

// ANCHOR: attention
/// Attention scores of `q, k: (.., T, D)`: q·kᵀ/√D with the future at −∞, as `(.., T, T)`.
pub fn causal_scores(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    let (t, d) = (q.dim(D::Minus2)?, q.dim(D::Minus1)?);
    let scores = (q.matmul(&k.transpose(D::Minus2, D::Minus1)?)? / (d as f64).sqrt())?;
    scores.broadcast_add(&causal_mask(t, q.dtype(), q.device())?)
}

/// Attention weights `(.., T, T)`: row i holds the weight of each token j ≤ i in the output of
/// token i, and sums to 1.
pub fn attention_weights(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    ops::softmax(&causal_scores(q, k)?)
}

/// Causal scaled dot-product attention of `q, k, v: (.., T, D)`, giving `(.., T, D)`.
///
/// Row `t` of the result is an average of `v[..=t]`, so the future never influences a token.
pub fn causal_attention(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    attention_weights(q, k)?.matmul(v) // (.., T, T) x (.., T, D) -> (.., T, D)
}
// ANCHOR_END: attention

/// Attention head: three linear projections without bias, then attention.
#[derive(Debug, Clone)]
pub struct Head {
    /// Query projection, C to D.
    pub query: Linear,
    /// Key projection, C to D.
    pub key: Linear,
    /// Value projection, C to D.
    pub value: Linear,
}

impl Head {
    /// Head from `n_embd` channels to `head_dim`; parameters `query.weight`, `key.weight`,
    /// `value.weight`.
    pub fn new(mut scope: Scope<'_>, n_embd: usize, head_dim: usize) -> Result<Self> {
        let init = Init::Uniform { bound: 1. / (n_embd as f64).sqrt() };
        let mut projection = |name| Linear::new(scope.at(name), n_embd, head_dim, Bias::No, init);
        let (query, key, value) = (projection("query")?, projection("key")?, projection("value")?);
        Ok(Self { query, key, value })
    }
}

impl Module for Head {
    /// Attention over `x: (B, T, C)`, giving `(B, T, D)`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (q, k) = (self.query.forward(x)?, self.key.forward(x)?); // (B, T, D)
        causal_attention(&q, &k, &self.value.forward(x)?)
    }
}
