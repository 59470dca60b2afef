//! Grouped-query attention: fewer key-value heads than query heads (Ainslie et al.,
//! <https://arxiv.org/abs/2305.13245>).
//!
//! The KV cache, which limits how long a text fits into memory, shrinks by the factor H / KV, at
//! hardly any loss of quality.

use candle_core::{Module, Result, Tensor};
use model_io::config::{self, AttentionBias, AttentionConfig, QkNorm};
use tensor_core::ops::attention;
use tensor_core::{Bias, Init, Linear, Scope, reshape};

use crate::attention_context::AttentionContext;
use crate::cache::LayerCache;
use crate::rms_norm::Norm;
use crate::rope::RotaryTable;

/// Grouped-query attention, parameters named as Llama's.
#[derive(Debug, Clone)]
pub struct Attention {
    q_proj: Linear, // C -> H D
    k_proj: Linear, // C -> KV D
    v_proj: Linear, // C -> KV D
    o_proj: Linear, // H D -> C
    /// Norms of queries and of keys, over D.
    qk_norms: Option<[Norm; 2]>,
    head_dim: usize,
}

impl Attention {
    /// Creates the parameters `q_proj`, `k_proj`, `v_proj`, `o_proj`, and `q_norm` and `k_norm` if
    /// `config` has them. `residual` initializes `o_proj`.
    pub fn new(
        mut scope: Scope<'_>,
        c: usize,
        config: &AttentionConfig,
        norm: config::NormKind,
        init: Init,
        residual: Init,
    ) -> Result<Self> {
        let AttentionConfig { n_head, n_kv_head, head_dim: d, bias, qk_norm, .. } = *config;
        let (qkv, output) = match bias {
            AttentionBias::None => (Bias::No, Bias::No),
            AttentionBias::Qkv => (Bias::Yes, Bias::No),
            AttentionBias::All => (Bias::Yes, Bias::Yes),
        };
        let qk_norms = match qk_norm {
            QkNorm::None => None,
            QkNorm::PerHead => Some([
                Norm::new(scope.at("q_norm"), d, norm)?,
                Norm::new(scope.at("k_norm"), d, norm)?,
            ]),
        };
        Ok(Self {
            q_proj: Linear::new(scope.at("q_proj"), c, n_head * d, qkv, init)?,
            k_proj: Linear::new(scope.at("k_proj"), c, n_kv_head * d, qkv, init)?,
            v_proj: Linear::new(scope.at("v_proj"), c, n_kv_head * d, qkv, init)?,
            o_proj: Linear::new(scope.at("o_proj"), n_head * d, c, output, residual)?,
            qk_norms,
            head_dim: d,
        })
    }

    /// Maps `x: (B, T, C)` to `(B, T, C)`. With a cache, the new keys and values are appended, and
    /// attention covers the cached tokens, too.
    pub fn forward(
        &self,
        x: &Tensor,
        context: &AttentionContext,
        rotary: Option<&RotaryTable>,
        cache: Option<&mut LayerCache>,
    ) -> Result<Tensor> {
        let (b, t, _c) = x.dims3()?;
        let [q, k, v] = self.queries_keys_values(x, context, rotary)?;
        let y = match cache {
            None => attention(&q, &k, &v, &context.mask)?, // (B, T, H, D)
            Some(cache) => {
                let [k, v] = cache.extend([&k, &v])?; // (B, S, KV, D)
                attention(&q, &k, &v, &context.mask)?
            }
        };
        let width = y.dim(2)? * self.head_dim;
        self.o_proj.forward(&reshape(&y, (b, t, width))?)
    }

    /// Queries (B, T, H, D), keys and values (B, T, KV, D each) of `x: (B, T, C)`, rotated by the
    /// positions of `context`.
    pub fn queries_keys_values(
        &self,
        x: &Tensor,
        context: &AttentionContext,
        rotary: Option<&RotaryTable>,
    ) -> Result<[Tensor; 3]> {
        let (b, t, _c) = x.dims3()?;
        let split_heads = |layer: &Linear| {
            let y = layer.forward(x)?; // (B, T, H D)
            let h = y.dim(2)? / self.head_dim;
            reshape(&y, (b, t, h, self.head_dim))
        };
        let mut q = split_heads(&self.q_proj)?; // (B, T, H, D)
        let mut k = split_heads(&self.k_proj)?; // (B, T, KV, D)
        let v = split_heads(&self.v_proj)?; // (B, T, KV, D)
        if let Some([q_norm, k_norm]) = &self.qk_norms {
            (q, k) = (q_norm.forward(&q)?, k_norm.forward(&k)?);
        }
        if let Some(rotary) = rotary {
            let positions = context.positions();
            (q, k) = (rotary.apply(&q, positions)?, rotary.apply(&k, positions)?);
        }
        Ok([q, k, v])
    }
}
