//! 3.7 Grouped-query attention: fewer key-value heads than query heads (Ainslie et al.,
//! <https://arxiv.org/abs/2305.13245>).
//!
//! The KV cache, which limits how long a text fits into memory, shrinks by the factor H / KV, at
//! hardly any loss of quality.
//!
//! The logits are q · k / √D, or q · k / √s with another s (Gemma 2 and 3), and may be capped
//! ([`softcap`](fn@tensor_core::ops::softcap), Gemma 2). Capped logits are computed by plain
//! operations, whose memory grows with T · S.

use candle_core::{Module, Result, Tensor};
use model_io::TensorNames;
use model_io::config::{self, AttentionBias, AttentionConfig, LayerType, QkNorm, QkvProjections};
use tensor_core::ops::{
    attention, attention_weights, softcap_attention, softcap_attention_weights,
};
use tensor_core::{Bias, Init, Linear, Scope, in_f32, reshape};

use crate::attention_context::AttentionContext;
use crate::cache::LayerCache;
use crate::rms_norm::Norm;
use crate::rope::RotaryTable;

/// Grouped-query attention.
#[derive(Debug, Clone)]
pub struct Attention {
    projections: Projections,
    o_proj: Linear, // H D -> C
    /// Norms of queries and of keys, over D.
    qk_norms: Option<[Norm; 2]>,
    head_dim: usize,
    layer_type: LayerType,
    /// √(D / s), if s is not D.
    query_scale: Option<f64>,
    logit_softcap: Option<f64>,
}

/// Projections of the channels to queries, keys and values.
#[derive(Debug, Clone)]
enum Projections {
    /// One matrix each.
    Separate {
        q_proj: Linear, // C -> H D
        k_proj: Linear, // C -> KV D
        v_proj: Linear, // C -> KV D
    },
    /// All queries, then all keys, then all values, of `n_kv_head` heads: C -> (H + 2 KV) D.
    Fused { qkv_proj: Linear, n_kv_head: usize },
    /// Query, key and value of the first head, then of the second, and so on: C -> 3 H D.
    FusedPerHead { qkv_proj: Linear },
}

impl Attention {
    /// Creates the parameters `q_proj`, `k_proj`, `v_proj`, or one matrix for all three; the output
    /// projection; and `q_norm` and `k_norm` if `config` has them. `residual` initializes the
    /// output projection. `layer`, counted from 0, decides between the window and full attention.
    pub fn new(
        mut scope: Scope<'_>,
        c: usize,
        layer: usize,
        config: &AttentionConfig,
        norm: config::NormKind,
        names: &TensorNames,
        [init, residual]: [Init; 2],
    ) -> Result<Self> {
        let AttentionConfig { n_head, n_kv_head, head_dim: d, bias, logits, .. } = *config;
        let (qkv, output) = match bias {
            AttentionBias::None => (Bias::No, Bias::No),
            AttentionBias::Qkv => (Bias::Yes, Bias::No),
            AttentionBias::All => (Bias::Yes, Bias::Yes),
        };
        let qk_norms = match logits.qk_norm {
            QkNorm::None => None,
            QkNorm::PerHead => Some([
                Norm::new(scope.at("q_norm"), d, norm)?,
                Norm::new(scope.at("k_norm"), d, norm)?,
            ]),
        };
        let mut linear =
            |name, n_in, n_out, bias, init| Linear::new(scope.at(name), n_in, n_out, bias, init);
        let fused = names.qkv_proj;
        let projections = match config.projections {
            QkvProjections::Separate => Projections::Separate {
                q_proj: linear("q_proj", c, n_head * d, qkv, init)?,
                k_proj: linear("k_proj", c, n_kv_head * d, qkv, init)?,
                v_proj: linear("v_proj", c, n_kv_head * d, qkv, init)?,
            },
            QkvProjections::Fused => Projections::Fused {
                qkv_proj: linear(fused, c, (n_head + 2 * n_kv_head) * d, qkv, init)?,
                n_kv_head,
            },
            QkvProjections::FusedPerHead => {
                Projections::FusedPerHead { qkv_proj: linear(fused, c, 3 * n_head * d, qkv, init)? }
            }
        };
        Ok(Self {
            projections,
            o_proj: linear(names.o_proj, n_head * d, c, output, residual)?,
            qk_norms,
            head_dim: d,
            layer_type: config.layer_type(layer),
            query_scale: config.query_scale(),
            logit_softcap: logits.softcap,
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
        let [k, v] = match cache {
            None => [k, v],
            Some(cache) => cache.extend([&k, &v])?, // (B, S, KV, D)
        };
        let mask = context.mask(self.layer_type);
        let y = match self.logit_softcap {
            None => attention(&q, &k, &v, mask)?, // (B, T, H, D)
            Some(cap) => softcap_attention(&q, &k, &v, mask, cap)?,
        };
        let width = y.dim(2)? * self.head_dim;
        self.o_proj.forward(&reshape(&y, (b, t, width))?)
    }

    /// Attention weights (B, H, T, T) of the `q` and `k` of whole texts.
    pub(crate) fn weights(
        &self,
        q: &Tensor,
        k: &Tensor,
        context: &AttentionContext,
    ) -> Result<Tensor> {
        let mask = context.mask(self.layer_type);
        match self.logit_softcap {
            None => attention_weights(q, k, mask),
            Some(cap) => softcap_attention_weights(q, k, mask, cap),
        }
    }

    /// Queries (B, T, H, D), keys and values (B, T, KV, D each) of `x: (B, T, C)`, rotated by the
    /// positions of `context`. Queries are scaled so that the logits are q · k / √D.
    pub fn queries_keys_values(
        &self,
        x: &Tensor,
        context: &AttentionContext,
        rotary: Option<&RotaryTable>,
    ) -> Result<[Tensor; 3]> {
        let [mut q, mut k, v] = self.project(x)?; // (B, T, H, D), (B, T, KV, D), (B, T, KV, D)
        if let Some([q_norm, k_norm]) = &self.qk_norms {
            (q, k) = (q_norm.forward(&q)?, k_norm.forward(&k)?);
        }
        if let Some(rotary) = rotary {
            let positions = context.positions();
            (q, k) = (rotary.apply(&q, positions)?, rotary.apply(&k, positions)?);
        }
        if let Some(scale) = self.query_scale {
            q = in_f32(&q, |q| q * scale)?; // 16 bits would round the scale
        }
        Ok([q, k, v])
    }

    /// Queries (B, T, H, D), keys and values (B, T, KV, D each) of `x: (B, T, C)`, before norms and
    /// rotation.
    fn project(&self, x: &Tensor) -> Result<[Tensor; 3]> {
        let ((b, t, _c), d) = (x.dims3()?, self.head_dim);
        let heads = |layer: &Linear, d: usize| {
            let y = layer.forward(x)?; // (B, T, heads · d)
            let h = y.dim(2)? / d;
            reshape(&y, (b, t, h, d))
        };
        match &self.projections {
            Projections::Separate { q_proj, k_proj, v_proj } => {
                Ok([heads(q_proj, d)?, heads(k_proj, d)?, heads(v_proj, d)?])
            }
            Projections::Fused { qkv_proj, n_kv_head } => {
                let (qkv, kv) = (heads(qkv_proj, d)?, *n_kv_head); // (B, T, H + 2 KV, D)
                let h = qkv.dim(2)? - 2 * kv;
                let part = |start, heads| qkv.narrow(2, start, heads)?.contiguous();
                Ok([part(0, h)?, part(h, kv)?, part(h + kv, kv)?])
            }
            Projections::FusedPerHead { qkv_proj } => {
                let qkv = heads(qkv_proj, 3 * d)?; // (B, T, H, 3 D)
                let part = |i: usize| qkv.narrow(3, i * d, d)?.contiguous();
                Ok([part(0)?, part(1)?, part(2)?])
            }
        }
    }
}
