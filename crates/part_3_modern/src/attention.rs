//! Attention with fewer heads of keys and values than of queries (Ainslie et al., <https://arxiv.org/abs/2305.13245>):
//! the cache, which decides how long a text fits into memory, shrinks by that factor, the quality hardly at all.

use candle_core::{Result, Tensor};
use tensor_core::ops::attention;
use tensor_core::{Bias, Init, Linear, Scope, reshape};

use crate::cache::{AttentionContext, LayerCache};
use crate::config::{self, AttentionBias, AttentionConfig, QkNorm};
use crate::rms_norm::Norm;
use crate::rope::RotaryTable;

/// Grouped-query attention, parameters named as Llama's.
#[derive(Debug, Clone)]
pub struct Attention {
    q_proj: Linear, // C -> H D
    k_proj: Linear, // C -> KV D
    v_proj: Linear, // C -> KV D
    o_proj: Linear, // H D -> C
    /// Of queries and of keys, over D.
    qk_norms: Option<[Norm; 2]>,
    head_dim: usize,
}

impl Attention {
    /// Parameters `q_proj`, `k_proj`, `v_proj`, `o_proj`, and `q_norm` and `k_norm` where there are any. `residual` is the
    /// initial scale of `o_proj`.
    pub fn new(
        mut scope: Scope<'_>,
        c: usize,
        config: &AttentionConfig,
        norm: config::NormKind,
        [init, residual]: [Init; 2],
    ) -> Result<Self> {
        let AttentionConfig { n_head, n_kv_head, head_dim: d, bias, qk_norm, .. } = *config;
        let (qkv, output) = match bias {
            AttentionBias::None => (Bias::No, Bias::No),
            AttentionBias::Qkv => (Bias::Yes, Bias::No),
            AttentionBias::All => (Bias::Yes, Bias::Yes),
        };
        let norms = match qk_norm {
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
            qk_norms: norms,
            head_dim: d,
        })
    }

    /// Maps `x: (B, T, C)` to `(B, T, C)`. With a cache, its tokens are read first and the new ones put into it.
    pub fn forward(
        &self,
        x: &Tensor,
        pass: &AttentionContext,
        angles: Option<&RotaryTable>,
        cache: Option<&mut LayerCache>,
    ) -> Result<Tensor> {
        let (b, t, _c) = x.dims3()?;
        let [q, k, v] = self.queries_keys_values(x, pass, angles)?;
        let y = match cache {
            None => attention(&q, &k, &v, &pass.mask)?, // (B, T, H, D)
            Some(cache) => {
                let [k, v] = cache.extend([&k, &v])?; // (B, S, KV, D)
                attention(&q, &k, &v, &pass.mask)?
            }
        };
        let width = y.dim(2)? * self.head_dim;
        self.o_proj.forward(&reshape(&y, (b, t, width))?)
    }

    /// What attention gets to see of `x: (B, T, C)`, at the places of `pass`: (B, T, H, D) and twice (B, T, KV, D).
    pub fn queries_keys_values(
        &self,
        x: &Tensor,
        pass: &AttentionContext,
        angles: Option<&RotaryTable>,
    ) -> Result<[Tensor; 3]> {
        let (b, t, _c) = x.dims3()?;
        let heads = |layer: &Linear| {
            let y = layer.forward(x)?; // (B, T, H D)
            let h = y.dim(2)? / self.head_dim;
            reshape(&y, (b, t, h, self.head_dim))
        };
        let (mut q, mut k, v) = (heads(&self.q_proj)?, heads(&self.k_proj)?, heads(&self.v_proj)?);
        if let Some([q_norm, k_norm]) = &self.qk_norms {
            (q, k) = (q_norm.forward(&q)?, k_norm.forward(&k)?);
        }
        if let Some(angles) = angles {
            (q, k) = (angles.apply(&q, pass.positions())?, angles.apply(&k, pass.positions())?);
        }
        Ok([q, k, v])
    }
}
