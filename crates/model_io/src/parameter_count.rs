//! Parameter count of a model, computed from its config without allocating it.

use crate::config::{AttentionBias, LmHead, Mlp, ModelConfig, NormKind, PositionEncoding, QkNorm};

impl ModelConfig {
    /// Number of learned parameters, as a float so that absurd sizes do not overflow.
    pub fn parameter_count(&self) -> f64 {
        let Self { vocab_size, n_layer, n_embd, context_len, attention, .. } = *self;
        let [v, n_layer, c, context_len, d] =
            [vocab_size, n_layer, n_embd, context_len, attention.head_dim].map(|n| n as f64);
        let [q, kv] = [attention.n_head, attention.n_kv_head].map(|heads| heads as f64 * d);
        let norm = |channels: f64| match self.norm {
            NormKind::Rms { .. } => channels,
            NormKind::Layer { .. } => 2. * channels,
        };
        let bias = match attention.bias {
            AttentionBias::None => 0.,
            AttentionBias::Qkv => q + 2. * kv,
            AttentionBias::All => q + 2. * kv + c,
        };
        let qk_norm = match attention.qk_norm {
            QkNorm::None => 0.,
            QkNorm::PerHead => 2. * norm(d),
        };
        let attention_layer = 2. * c * (q + kv) + bias + qk_norm;
        let mlp = match self.mlp {
            Mlp::SwiGlu { width } => 3. * c * width as f64,
            Mlp::Gelu { width, .. } => (2. * c + 1.) * width as f64 + c,
        };
        let positions = match attention.position {
            PositionEncoding::Learned => context_len * c,
            PositionEncoding::Rope { .. } => 0.,
        };
        let lm_head = match self.lm_head {
            LmHead::Tied => 0.,
            LmHead::Untied => v * c,
        };
        let blocks = n_layer * (attention_layer + mlp + 2. * norm(c));
        v * c + positions + blocks + norm(c) + lm_head
    }

    /// Training FLOPs per token: 6 per parameter, plus attention over the tokens before it, of
    /// which there are T/2 on average (Chowdhery et al., <https://arxiv.org/abs/2204.02311>,
    /// appendix B).
    pub fn training_flops_per_token(&self) -> f64 {
        let attention = self.n_layer * self.attention.n_head * self.attention.head_dim;
        6. * self.parameter_count() + 12. * attention as f64 * self.context_len as f64 / 2.
    }
}
