//! Small configurations for tests of this and later crates.

use tensor_core::ops::Gelu;

use crate::config::{
    AttentionBias, LmHead, Mlp, ModelConfig, NormKind, PositionEncoding, QkNorm, RopeScaling,
    SlidingWindow, YarnScaling,
};

/// Model of two layers, with four query heads that share two key heads.
pub fn tiny() -> ModelConfig {
    let mut config = ModelConfig { vocab_size: 11, ..ModelConfig::byte_level(64, 2, 4, 16) };
    config.attention.n_kv_head = 2;
    config
}

/// One config per architectural variant, by name.
pub fn variants() -> Vec<(&'static str, ModelConfig)> {
    let with = |change: fn(&mut ModelConfig)| {
        let mut config = tiny();
        change(&mut config);
        config
    };
    let yarn = RopeScaling::Yarn(YarnScaling {
        factor: 4.,
        attention_factor: None,
        beta_fast: 4.,
        beta_slow: 1.,
        original_context_len: 16,
    });
    let mut longer_context = tiny();
    longer_context.attention.position = PositionEncoding::Rope { base: 500., scaling: Some(yarn) };
    vec![
        ("llama", tiny()),
        ("yarn", longer_context),
        ("untied", with(|c| c.lm_head = LmHead::Untied)),
        ("qwen2", with(|c| c.attention.bias = AttentionBias::Qkv)),
        ("qwen3", with(|c| c.attention.qk_norm = QkNorm::PerHead)),
        ("smollm3", with(|c| c.attention.no_rope_interval = Some(2))),
        ("biases", with(|c| c.attention.bias = AttentionBias::All)),
        ("mistral", with(|c| c.attention.window = Some(SlidingWindow { size: 3, sinks: 0 }))),
        ("sinks", with(|c| c.attention.window = Some(SlidingWindow { size: 2, sinks: 2 }))),
        ("layer norm", with(|c| c.norm = NormKind::Layer { eps: 1e-5 })),
        ("learned positions", with(|c| c.attention.position = PositionEncoding::Learned)),
        ("gelu", with(|c| c.mlp = Mlp::Gelu { width: 64, form: Gelu::Tanh })),
        ("wide heads", with(|c| c.attention.head_dim = 6)),
    ]
}
