//! Small configurations for tests of this and later crates.

use tensor_core::ops::Gelu;

use crate::config::{
    AttentionBias, BlockLayout, ExpertWeights, LmHead, LongScaling, Mlp, ModelConfig, NormKind,
    PairFactors, PositionEncoding, QkNorm, QkvProjections, RopeScaling, SlidingWindow,
    TokenEmbedding, YarnScaling,
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
        (
            "learned positions",
            with(|c| c.attention.position = PositionEncoding::Learned { offset: 0 }),
        ),
        ("gelu", with(|c| c.mlp = Mlp::Gelu { width: 64, form: Gelu::Tanh })),
        ("wide heads", with(|c| c.attention.head_dim = 6)),
        ("partial rope", with(|c| c.attention.rotary_fraction = 0.5)),
        ("fused", with(|c| c.attention.projections = QkvProjections::Fused)),
        ("post-norm", with(|c| c.block = BlockLayout::PostNorm)),
        ("parallel", with(|c| c.block = BlockLayout::Parallel)),
        ("projected", with(|c| c.embedding = TokenEmbedding::Projected { width: 6 })),
        ("scaled", with(|c| c.embedding = TokenEmbedding::Scaled)),
        ("zero-centered", with(|c| c.norm = NormKind::ZeroCenteredRms { eps: 1e-5 })),
        ("geglu", with(|c| c.mlp = Mlp::GeGlu { width: 24, form: Gelu::Exact })),
        ("relu", with(|c| c.mlp = Mlp::Relu { width: 24 })),
        ("sandwich norm", with(|c| c.block = BlockLayout::SandwichNorm)),
        ("mixed layers", with(mix_layers)),
        ("phi3", phi3()),
        ("gemma", gemma()),
        ("gemma2", gemma2()),
        ("gemma3_text", gemma3()),
        ("gpt2", gpt2()),
        ("opt", opt()),
        ("gpt_neox", gpt_neox()),
        ("mixtral", with(|c| c.mlp = EXPERTS)),
        ("qwen3_moe", qwen3_moe()),
    ]
}

/// Two of three experts for each token.
const EXPERTS: Mlp =
    Mlp::Experts { width: 8, n_expert: 3, top_k: 2, weights: ExpertWeights::Renormalized };

fn phi3() -> ModelConfig {
    let factors = |factors| PairFactors::new(factors).expect("two pairs");
    let long = LongScaling {
        short_factor: factors(&[1., 1.25]),
        long_factor: factors(&[1.5, 3.]),
        attention_factor: 1.25,
        original_context_len: 16,
    };
    let mut config = ModelConfig { mlp: Mlp::FusedSwiGlu { width: 24 }, ..tiny() };
    config.attention.projections = QkvProjections::Fused;
    config.attention.position =
        PositionEncoding::Rope { base: 500., scaling: Some(RopeScaling::Long(long)) };
    config
}

fn gemma() -> ModelConfig {
    ModelConfig {
        embedding: TokenEmbedding::Scaled,
        norm: NormKind::ZeroCenteredRms { eps: 1e-6 },
        mlp: Mlp::GeGlu { width: 24, form: Gelu::Tanh },
        ..tiny()
    }
}

/// A window in the first layer alone.
fn mix_layers(config: &mut ModelConfig) {
    config.attention.window = Some(SlidingWindow { size: 3, sinks: 0 });
    config.attention.full_attention_interval = Some(2);
}

fn gemma2() -> ModelConfig {
    let block = BlockLayout::SandwichNorm;
    let mut config = ModelConfig { block, logit_softcap: Some(3.), ..gemma() };
    mix_layers(&mut config);
    config.attention.query_pre_attn_scalar = Some(6);
    config.attention.logit_softcap = Some(2.);
    config
}

fn gemma3() -> ModelConfig {
    let mut config = ModelConfig { logit_softcap: None, ..gemma2() };
    let scaling = Some(RopeScaling::Linear { factor: 4. });
    config.attention.position = PositionEncoding::Rope { base: 1000., scaling };
    config.attention.local_rope_base = Some(10.);
    config.attention.qk_norm = QkNorm::PerHead;
    config.attention.logit_softcap = None;
    config
}

fn gpt2() -> ModelConfig {
    let mut config = ModelConfig {
        norm: NormKind::Layer { eps: 1e-5 },
        mlp: Mlp::Gelu { width: 24, form: Gelu::Tanh },
        ..tiny()
    };
    config.attention.n_kv_head = config.attention.n_head;
    config.attention.projections = QkvProjections::Fused;
    config.attention.bias = AttentionBias::All;
    config.attention.position = PositionEncoding::Learned { offset: 0 };
    config
}

fn opt() -> ModelConfig {
    let mut config = ModelConfig {
        embedding: TokenEmbedding::Projected { width: 8 },
        block: BlockLayout::PostNorm,
        mlp: Mlp::Relu { width: 24 },
        ..gpt2()
    };
    config.attention.projections = QkvProjections::Separate;
    config.attention.position = PositionEncoding::Learned { offset: 2 };
    config
}

fn gpt_neox() -> ModelConfig {
    let mut config = ModelConfig { block: BlockLayout::Parallel, ..gpt2() };
    config.attention.projections = QkvProjections::FusedPerHead;
    config.attention.position = PositionEncoding::Rope { base: 100., scaling: None };
    config.attention.rotary_fraction = 0.5;
    config
}

fn qwen3_moe() -> ModelConfig {
    let mut config = ModelConfig { mlp: EXPERTS, ..tiny() };
    config.attention.qk_norm = QkNorm::PerHead;
    config
}
