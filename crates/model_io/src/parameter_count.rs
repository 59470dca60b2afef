//! Parameter count of a model, computed from its config without allocating it.

use crate::config::{
    AttentionBias, BlockLayout, LmHead, Mlp, ModelConfig, NormKind, PositionEncoding, QkNorm,
    TokenEmbedding,
};

impl ModelConfig {
    /// Number of learned parameters, as a float so that absurd sizes do not overflow.
    pub fn parameter_count(&self) -> f64 {
        let Mlp::Experts { n_expert, .. } = self.mlp else { return self.count_with_experts(1) };
        self.count_with_experts(n_expert)
    }

    /// Number of parameters that compute the output of a token: those of K experts per layer.
    pub fn active_parameter_count(&self) -> f64 {
        let Mlp::Experts { top_k, .. } = self.mlp else { return self.count_with_experts(1) };
        self.count_with_experts(top_k)
    }

    /// Number of parameters if each layer had `n` of its experts.
    fn count_with_experts(&self, n: usize) -> f64 {
        let Self { vocab_size, n_layer, n_embd, context_len, attention, .. } = *self;
        let [v, n_layer, c, context_len, d] =
            [vocab_size, n_layer, n_embd, context_len, attention.head_dim].map(|n| n as f64);
        let [q, kv] = [attention.n_head, attention.n_kv_head].map(|heads| heads as f64 * d);
        let norm = |channels: f64| match self.norm {
            NormKind::Rms { .. } | NormKind::ZeroCenteredRms { .. } => channels,
            NormKind::Layer { .. } => 2. * channels,
        };
        let bias = match attention.bias {
            AttentionBias::None => 0.,
            AttentionBias::Qkv => q + 2. * kv,
            AttentionBias::All => q + 2. * kv + c,
        };
        let qk_norm = match attention.logits.qk_norm {
            QkNorm::None => 0.,
            QkNorm::PerHead => 2. * norm(d),
        };
        let attention_layer = 2. * c * (q + kv) + bias + qk_norm;
        let width = self.mlp.width() as f64;
        let mlp = match self.mlp {
            Mlp::SwiGlu { .. } | Mlp::FusedSwiGlu { .. } | Mlp::GeGlu { .. } => 3. * c * width,
            Mlp::Gelu { .. } | Mlp::Relu { .. } => (2. * c + 1.) * width + c,
            Mlp::Experts { n_expert, .. } => n as f64 * 3. * c * width + n_expert as f64 * c,
        };
        let positions = match attention.position {
            PositionEncoding::Learned { offset } => (context_len + offset as f64) * c,
            PositionEncoding::Rope(_) => 0.,
        };
        let width = self.embedding_width() as f64;
        let projections = match self.embedding {
            TokenEmbedding::Plain | TokenEmbedding::Scaled => 0.,
            TokenEmbedding::Projected { .. } => 2. * width * c,
        };
        let lm_head = match self.lm_head {
            LmHead::Tied => 0.,
            LmHead::Untied => v * width,
        };
        let last_norm = match self.block {
            BlockLayout::PreNorm | BlockLayout::Parallel | BlockLayout::SandwichNorm => norm(c),
            BlockLayout::PostNorm => 0.,
        };
        let n_norm = if self.block == BlockLayout::SandwichNorm { 4. } else { 2. };
        let blocks = n_layer * (attention_layer + mlp + n_norm * norm(c));
        v * width + projections + positions + blocks + last_norm + lm_head
    }

    /// Training FLOPs per token: 6 per active parameter, plus attention over the tokens before it,
    /// of which there are T/2 on average (Chowdhery et al., <https://arxiv.org/abs/2204.02311>,
    /// appendix B).
    pub fn training_flops_per_token(&self) -> f64 {
        let sizes = [self.n_layer, self.attention.n_head, self.attention.head_dim];
        let attention: f64 = sizes.map(|size| size as f64).iter().product();
        6. * self.active_parameter_count() + 12. * attention * self.context_len as f64 / 2.
    }
}
