//! Configuration and initial weights of a new model.

use tensor_core::Init;

use crate::ModelConfig;
use crate::config::{
    AttentionBias, AttentionConfig, AttentionLogits, BlockLayout, LmHead, Mlp, NormKind,
    PositionEncoding, QkvProjections, TokenEmbedding,
};

impl ModelConfig {
    /// Byte-level model of Llama's architecture: RMSNorm, RoPE, and a SwiGLU with as many
    /// parameters as a GELU layer of width 4 C.
    pub fn byte_level(context_len: usize, n_layer: usize, n_head: usize, n_embd: usize) -> Self {
        Self {
            vocab_size: 256,
            n_layer,
            n_embd,
            context_len,
            embedding: TokenEmbedding::Plain,
            norm: NormKind::Rms { eps: 1e-5 },
            block: BlockLayout::PreNorm,
            attention: AttentionConfig {
                n_head,
                n_kv_head: n_head,
                head_dim: n_embd / n_head.max(1),
                projections: QkvProjections::Separate,
                bias: AttentionBias::None,
                position: PositionEncoding::rope(10_000.),
                window: None,
                logits: AttentionLogits::default(),
            },
            mlp: Mlp::SwiGlu { width: Self::swiglu_width(n_embd) },
            lm_head: LmHead::Tied,
            logit_softcap: None,
            init_std: Self::init_std_for_width(n_embd.max(1)),
        }
    }

    /// SwiGLU width 8/3 C, rounded up to a multiple of 8: its three matrices have as many
    /// parameters as the two of a GELU layer of width 4 C.
    pub fn swiglu_width(n_embd: usize) -> usize {
        n_embd.saturating_mul(8).div_ceil(3).next_multiple_of(8)
    }

    /// Standard deviation of GPT-2, whose width is 768.
    pub const GPT2_INIT_STD: f64 = 0.02;

    /// GPT-2's standard deviation scaled to another width as 1/√C, which keeps sums of C products
    /// in scale. A narrow model initialized with 0.02 learns slowly at first.
    pub fn init_std_for_width(n_embd: usize) -> f64 {
        Self::GPT2_INIT_STD * (768. / n_embd as f64).sqrt()
    }

    /// Initialization of most matrices, and of those whose output is added to the residual stream.
    pub fn weight_inits(&self) -> [Init; 2] {
        let std = self.init_std;
        // 1/√(2 n_layer) keeps the sum of 2 n_layer residual layers in scale (Radford et al. 2019,
        // 2.3).
        let residual = Init::Normal { std: std / (2. * self.n_layer as f64).sqrt() };
        [Init::Normal { std }, residual]
    }
}
