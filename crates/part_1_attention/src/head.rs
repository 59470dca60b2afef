//! 1.3 A single attention head in candle: the lines of 1.2 for batches, differentiated for us.

use candle_core::{D, DType, Device, Result, Tensor};
use tensor_core::{Bias, Init, Linear, Scope, ops};

/// Causal mask (T, T), added to the attention scores of `t` tokens: 0 where j ≤ i, −∞ where
/// key j is in the future of query i.
pub fn causal_mask(t: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    let cell = |at: usize| if at % t > at / t { f32::NEG_INFINITY } else { 0. };
    let mask: Vec<f32> = (0..t * t).map(cell).collect();
    Tensor::from_vec(mask, (t, t), device)?.to_dtype(dtype)
}

/// Scores of `q, k: (.., T, D)`: q·kᵀ/√D with the future at −∞, as `(.., T, T)`.
pub fn causal_scores(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    let (t, d) = (q.dim(D::Minus2)?, q.dim(D::Minus1)?);
    let scores = (q.matmul(&k.transpose(D::Minus2, D::Minus1)?)? / (d as f64).sqrt())?;
    scores.broadcast_add(&causal_mask(t, q.dtype(), q.device())?)
}

/// Attention weights `(.., T, T)`: row i says how much token i takes from each token j ≤ i and sums
/// to 1.
pub fn attention_weights(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    ops::softmax(&causal_scores(q, k)?)
}

/// Causal scaled dot-product attention of `q, k, v: (.., T, D)`, giving `(.., T, D)`.
///
/// Row `t` of the result is an average of `v[..=t]`, so no token sees its future.
pub fn causal_attention(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    attention_weights(q, k)?.matmul(v) // (.., T, T) x (.., T, D) -> (.., T, D)
}

/// One head: three maps without bias, then attention.
#[derive(Debug, Clone)]
pub struct Head {
    /// C to D: what a token looks for.
    pub query: Linear,
    /// C to D: what it can be found by.
    pub key: Linear,
    /// C to D: what it hands over.
    pub value: Linear,
}

impl Head {
    /// A head from `n_embd` channels to `head_dim`; parameters `query.weight`, `key.weight`, `value.weight`.
    pub fn new(mut scope: Scope<'_>, n_embd: usize, head_dim: usize) -> Result<Self> {
        let init = Init::Uniform { bound: 1. / (n_embd as f64).sqrt() };
        let mut map = |name| Linear::new(scope.at(name), n_embd, head_dim, Bias::No, init);
        Ok(Self { query: map("query")?, key: map("key")?, value: map("value")? })
    }

    /// Attends over `x: (B, T, C)`, giving `(B, T, D)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (q, k) = (self.query.forward(x)?, self.key.forward(x)?); // (B, T, D)
        causal_attention(&q, &k, &self.value.forward(x)?)
    }
}
