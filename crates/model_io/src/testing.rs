//! Small configurations for tests of this and later crates.

use tensor_core::ops::Gelu;

use crate::config::{
    AttentionBias, BlockLayout, ExpertWeights, LayerWindow, LmHead, LongScaling, Mlp, ModelConfig,
    NormKind, PairFactors, PositionEncoding, QkNorm, QkvProjections, RopeParameters, RopeScaling,
    SlidingWindow, TokenEmbedding, YarnScaling,
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
    longer_context.attention.position = scaled_rope(500., yarn);
    vec![
        ("llama", tiny()),
        ("yarn", longer_context),
        ("untied", with(|c| c.lm_head = LmHead::Untied)),
        ("qwen2", with(|c| c.attention.bias = AttentionBias::Qkv)),
        ("qwen3", with(|c| c.attention.logits.qk_norm = QkNorm::PerHead)),
        ("smollm3", with(|c| c.attention.position = rope_in_every_other_layer())),
        ("biases", with(|c| c.attention.bias = AttentionBias::All)),
        ("mistral", with(|c| c.attention.window = Some(window_of(3, 0)))),
        ("sinks", with(|c| c.attention.window = Some(window_of(2, 2)))),
        ("layer norm", with(|c| c.norm = NormKind::Layer { eps: 1e-5 })),
        (
            "learned positions",
            with(|c| c.attention.position = PositionEncoding::Learned { offset: 0 }),
        ),
        ("gelu", with(|c| c.mlp = Mlp::Gelu { width: 64, form: Gelu::Tanh })),
        ("wide heads", with(|c| c.attention.head_dim = 6)),
        ("partial rope", with(|c| c.attention.position = rope_on_half_a_head(10_000.))),
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

/// Window in all layers.
fn window_of(size: usize, sinks: usize) -> LayerWindow {
    SlidingWindow { size, sinks }.into()
}

fn scaled_rope(base: f64, scaling: RopeScaling) -> PositionEncoding {
    PositionEncoding::Rope(RopeParameters { scaling: Some(scaling), ..RopeParameters::new(base) })
}

fn rope_on_half_a_head(base: f64) -> PositionEncoding {
    PositionEncoding::Rope(RopeParameters { rotary_fraction: 0.5, ..RopeParameters::new(base) })
}

/// RoPE in the first of two layers, as in SmolLM3.
pub fn rope_in_every_other_layer() -> PositionEncoding {
    let rope = RopeParameters::new(10_000.);
    PositionEncoding::Rope(RopeParameters { no_rope_interval: Some(2), ..rope })
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
    config.attention.position = scaled_rope(500., RopeScaling::Long(long));
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
    let window = window_of(3, 0);
    config.attention.window = Some(LayerWindow { full_attention_interval: Some(2), ..window });
}

fn gemma2() -> ModelConfig {
    let block = BlockLayout::SandwichNorm;
    let mut config = ModelConfig { block, logit_softcap: Some(3.), ..gemma() };
    mix_layers(&mut config);
    config.attention.logits.query_pre_attn_scalar = Some(6);
    config.attention.logits.softcap = Some(2.);
    config
}

fn gemma3() -> ModelConfig {
    let mut config = ModelConfig { logit_softcap: None, ..gemma2() };
    config.attention.position = scaled_rope(1000., RopeScaling::Linear { factor: 4. });
    let layers = config.attention.window;
    config.attention.window =
        layers.map(|layers| LayerWindow { local_rope_base: Some(10.), ..layers });
    config.attention.logits.qk_norm = QkNorm::PerHead;
    config.attention.logits.softcap = None;
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
    config.attention.position = rope_on_half_a_head(100.);
    config
}

fn qwen3_moe() -> ModelConfig {
    let mut config = ModelConfig { mlp: EXPERTS, ..tiny() };
    config.attention.logits.qk_norm = QkNorm::PerHead;
    config
}
