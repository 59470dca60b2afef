//! 1.4 Multi-head attention: H heads attend to the same tokens in parallel, each with its own D =
//! C/H channels, and a final linear layer mixes their outputs (Vaswani et al.,
//! <https://arxiv.org/abs/1706.03762>, 3.2.2).
//!
//! One linear layer `c_attn` computes all queries, keys and values, packed as Q|K|V and by head
//! within each, as in GPT-2.

use candle_core::{IndexOp, Module, Result, Tensor};
use tensor_core::ops::AttentionMask;
use tensor_core::{Bias, Dropout, Init, Linear, Scope, ops};

use crate::BlockConfig;
use crate::head::causal_scores;

/// Causal multi-head attention with biases; parameters are named as in GPT-2.
#[derive(Debug, Clone)]
pub struct MultiHeadAttention {
    c_attn: Linear, // C -> 3C
    c_proj: Linear, // C -> C
    n_head: usize,
    weights_dropout: Dropout,
    output_dropout: Dropout,
}

/// Intermediate tensors of a forward pass, in order.
#[derive(Debug, Clone)]
pub struct MultiHeadTrace {
    /// Output of `c_attn`, (B, T, 3C).
    pub qkv: Tensor,
    /// `qkv` reshaped to (B, T, 3, H, D); shares its memory.
    pub qkv_by_head: Tensor,
    /// Queries before the transpose, (B, T, H, D): heads within each token.
    pub q_by_token: Tensor,
    /// Queries, (B, H, T, D).
    pub q: Tensor,
    /// Keys, (B, H, T, D).
    pub k: Tensor,
    /// Values, (B, H, T, D).
    pub v: Tensor,
    /// Scores, (B, H, T, T), the future at −∞.
    pub scores: Tensor,
    /// Attention weights before dropout, (B, H, T, T); rows sum to 1.
    pub weights: Tensor,
    /// Weighted averages of the values, (B, H, T, D).
    pub context: Tensor,
    /// Concatenated heads, (B, T, C).
    pub merged: Tensor,
    /// Output of `c_proj`, (B, T, C).
    pub output: Tensor,
}

impl MultiHeadAttention {
    /// Layer with the parameters `c_attn` (C to 3C) and `c_proj` (C to C), both with bias.
    pub fn new(mut scope: Scope<'_>, config: &BlockConfig) -> Result<Self> {
        config.check()?;
        let c = config.n_embd;
        let normal = |std| Init::Normal { std };
        let c_attn =
            Linear::new(scope.at("c_attn"), c, 3 * c, Bias::Yes, normal(BlockConfig::INIT_STD))?;
        let c_proj =
            Linear::new(scope.at("c_proj"), c, c, Bias::Yes, normal(config.residual_std()))?;
        let dropout = scope.dropout(config.dropout);
        let n_head = config.n_head;
        Ok(Self {
            c_attn,
            c_proj,
            n_head,
            weights_dropout: dropout.clone(),
            output_dropout: dropout,
        })
    }

    // ANCHOR: trace
    /// Forward pass in plain steps that keeps every intermediate tensor.
    pub fn trace(&self, x: &Tensor) -> Result<MultiHeadTrace> {
        let (b, t, c) = x.dims3()?;
        let (h, d) = (self.n_head, c / self.n_head);
        let qkv = self.c_attn.forward(x)?; // (B, T, 3C)
        let qkv_by_head = qkv.reshape((b, t, 3, h, d))?; // (B, T, 3, H, D)
        let q_by_token = qkv_by_head.i((.., .., 0))?; // (B, T, H, D)
        let split = qkv_by_head.permute((2, 0, 3, 1, 4))?; // (3, B, H, T, D)
        let part = |i: usize| split.i(i)?.contiguous(); // (B, H, T, D)
        let (q, k, v) = (part(0)?, part(1)?, part(2)?);

        let scores = causal_scores(&q, &k)?; // (B, H, T, T)
        let weights = ops::softmax(&scores)?;
        let context = self.weights_dropout.forward(&weights)?.matmul(&v)?; // (B, H, T, D)

        let merged = context.transpose(1, 2)?.reshape((b, t, c))?; // (B, T, H, D) -> (B, T, C)
        let output = self.output_dropout.forward(&self.c_proj.forward(&merged)?)?;
        Ok(MultiHeadTrace {
            qkv,
            qkv_by_head,
            q_by_token,
            q,
            k,
            v,
            scores,
            weights,
            context,
            merged,
            output,
        })
    }
    // ANCHOR_END: trace
}

impl Module for MultiHeadAttention {
    /// Attention over `x: (B, T, C)`, giving `(B, T, C)`. Fused equivalent of
    /// [`MultiHeadAttention::trace`], except when attention weights have dropout.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if self.weights_dropout.is_active() {
            return Ok(self.trace(x)?.output);
        }
        let qkv = self.c_attn.forward(x)?; // (B, T, 3C)
        let merged = ops::self_attention(&qkv, self.n_head, &AttentionMask::causal())?; // (B, T, C)
        self.output_dropout.forward(&self.c_proj.forward(&merged)?)
    }
}

impl MultiHeadTrace {
    /// Name and shape of each step, in order.
    pub fn shapes(&self) -> Vec<(&'static str, &[usize])> {
        vec![
            ("c_attn: Q, K and V in one matrix product", self.qkv.dims()),
            ("reshaped to (B, T, 3, H, D)", self.qkv_by_head.dims()),
            ("q: one of the three (also k and v)", self.q_by_token.dims()),
            ("q transposed: heads before time (also k and v)", self.q.dims()),
            ("scores: q k^T / sqrt(D), the future at -inf", self.scores.dims()),
            ("weights: softmax of each row", self.weights.dims()),
            ("context: weights times v", self.context.dims()),
            ("merged: concatenated heads", self.merged.dims()),
            ("c_proj: the output", self.output.dims()),
        ]
    }
}
