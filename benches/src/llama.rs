//! A Llama-shaped model, made of the fused operations alone: what a training step costs with nothing else in it.
//!
//! RMSNorm, rotary positions, SwiGLU, tied embeddings, no biases; parameters named as in Llama checkpoints.

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};
use tensor_core::ops::{
    Mask, Positions, add, attention, embedding, linear, rms_norm, rope, silu_mul,
};
use tensor_core::{Decay, Init, Scope, reshape};

const EPS: f64 = 1e-5;
const ROPE_BASE: f64 = 10_000.;

/// The sizes of a [`Llama`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LlamaConfig {
    /// V
    #[serde(rename = "vocab")]
    pub vocab_size: usize,
    /// Blocks.
    pub n_layer: usize,
    /// H
    pub n_head: usize,
    /// C
    pub n_embd: usize,
    /// Width of the feed-forward layers.
    pub n_ff: usize,
    /// Longest T.
    pub block_size: usize,
}

/// A decoder-only transformer.
pub struct Llama {
    n_head: usize,
    embed_tokens: Tensor, // (V, C)
    layers: Vec<Layer>,
    norm: Tensor, // (C)
    cos: Tensor,  // (T_max, D/2)
    sin: Tensor,
}

struct Layer {
    input_layernorm: Tensor, // (C)
    q_proj: Tensor,          // (C, C)
    k_proj: Tensor,
    v_proj: Tensor,
    o_proj: Tensor,
    post_attention_layernorm: Tensor, // (C)
    gate_proj: Tensor,                // (F, C)
    up_proj: Tensor,
    down_proj: Tensor, // (C, F)
}

impl Llama {
    /// Parameters `model.embed_tokens.weight`, `model.layers.0.input_layernorm.weight` and so on.
    pub fn new(config: &LlamaConfig, mut scope: Scope<'_>) -> Result<Self> {
        let LlamaConfig { vocab_size, n_layer, n_head, n_embd, block_size, .. } = *config;
        let init = Init::Normal { std: 0.02 };
        let mut scope = scope.at("model");
        let embed_tokens =
            scope.at("embed_tokens").parameter("weight", (vocab_size, n_embd), init, Decay::No)?;
        let layers = (0..n_layer)
            .map(|i| Layer::new(config, scope.at("layers").at(i)))
            .collect::<Result<_>>()?;
        let norm = scope.at("norm").parameter("weight", n_embd, Init::Ones, Decay::No)?;
        let (cos, sin) = tables(block_size, n_embd / n_head, &embed_tokens)?;
        Ok(Self { n_head, embed_tokens, layers, norm, cos, sin })
    }

    /// The scores of every possible next token after each of `ids: (B, T)`: (B, T, V).
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let mut x = embedding(&self.embed_tokens, ids)?; // (B, T, C)
        for layer in &self.layers {
            let normal = rms_norm(&x, &layer.input_layernorm, EPS)?;
            x = add(&x, &self.attend(layer, &normal)?)?;
            let normal = rms_norm(&x, &layer.post_attention_layernorm, EPS)?;
            let gate = linear(&normal, &layer.gate_proj, None)?; // (B, T, F)
            let up = linear(&normal, &layer.up_proj, None)?;
            x = add(&x, &linear(&silu_mul(&gate, &up)?, &layer.down_proj, None)?)?;
        }
        linear(&rms_norm(&x, &self.norm, EPS)?, &self.embed_tokens, None)
    }

    fn attend(&self, layer: &Layer, x: &Tensor) -> Result<Tensor> {
        let (b, t, c) = x.dims3()?;
        let heads =
            |weight| reshape(&linear(x, weight, None)?, (b, t, self.n_head, c / self.n_head)); // (B, T, H, D)
        let turned = |x| rope(&x, &self.cos, &self.sin, Positions::From(0));
        let (q, k) = (turned(heads(&layer.q_proj)?)?, turned(heads(&layer.k_proj)?)?);
        let y = attention(&q, &k, &heads(&layer.v_proj)?, &Mask::causal())?; // (B, T, H, D)
        linear(&reshape(&y, (b, t, c))?, &layer.o_proj, None)
    }
}

impl Layer {
    fn new(config: &LlamaConfig, mut scope: Scope<'_>) -> Result<Self> {
        let (c, f) = (config.n_embd, config.n_ff);
        let mut matrix = |place: &str, name: &str, shape: (usize, usize), std: f64| {
            let init = Init::Normal { std };
            scope.at(place).at(name).parameter("weight", shape, init, Decay::Yes)
        };
        let (std, residual_std) = (0.02, 0.02 / (2. * config.n_layer as f64).sqrt());
        let (attn, mlp) = ("self_attn", "mlp");
        let q_proj = matrix(attn, "q_proj", (c, c), std)?;
        let k_proj = matrix(attn, "k_proj", (c, c), std)?;
        let v_proj = matrix(attn, "v_proj", (c, c), std)?;
        let o_proj = matrix(attn, "o_proj", (c, c), residual_std)?;
        let gate_proj = matrix(mlp, "gate_proj", (f, c), std)?;
        let up_proj = matrix(mlp, "up_proj", (f, c), std)?;
        let down_proj = matrix(mlp, "down_proj", (c, f), residual_std)?;
        let mut norm = |name: &str| scope.at(name).parameter("weight", c, Init::Ones, Decay::No);
        let input_layernorm = norm("input_layernorm")?;
        let post_attention_layernorm = norm("post_attention_layernorm")?;
        Ok(Self {
            input_layernorm,
            q_proj,
            k_proj,
            v_proj,
            o_proj,
            post_attention_layernorm,
            gate_proj,
            up_proj,
            down_proj,
        })
    }
}

/// cos and sin of position · base^(−2i / D), for D/2 angles at each position.
fn tables(positions: usize, d: usize, like: &Tensor) -> Result<(Tensor, Tensor)> {
    let angle = |at: usize| {
        let (position, i) = (at / (d / 2), at % (d / 2));
        position as f64 * ROPE_BASE.powf(-2. * i as f64 / d as f64)
    };
    let angles = Tensor::from_iter((0..positions * (d / 2)).map(angle), like.device())?;
    let table = |x: Tensor| x.reshape((positions, d / 2))?.to_dtype(like.dtype());
    Ok((table(angles.cos()?)?, table(angles.sin()?)?))
}
