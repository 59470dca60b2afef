//! How cost grows: FLOPs and bytes of a training step and of a GRPO update, counted from their
//! shapes as the code computes them.

use std::fmt;

use model_io::ModelConfig;
use serde::{Deserialize, Serialize};

/// Prompts of an update.
pub(crate) const PROMPTS: usize = 4;
/// Tokens of a prompt.
pub(crate) const PROMPT_LEN: usize = 64;
/// Tokens of a completion.
pub(crate) const COMPLETION_LEN: usize = 32;
/// Channels of a head.
const HEAD_DIM: usize = 32;
/// Logits that `GptModern::cross_entropy` computes at a time, and the fewest rows of a chunk.
const CHUNK_LOGITS: usize = 1 << 24;
const MIN_CHUNK_ROWS: usize = 256;
/// Bytes of a number in f32.
const F32: f64 = 4.;

/// Sizes of a model and of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Number of blocks.
    pub(crate) n_layer: usize,
    /// Width, C.
    pub(crate) n_embd: usize,
    /// Vocabulary size, V.
    pub(crate) vocab_size: usize,
    /// Rows, B: windows of text, or prompts with all their completions.
    pub(crate) n_rows: usize,
    /// Tokens of a row, T.
    pub(crate) row_len: usize,
    /// Positions with logits.
    pub(crate) n_targets: usize,
}

/// Size that is varied while the others keep their base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Axis {
    Layers,
    Width,
    Context,
    Batch,
    Vocabulary,
    Group,
}

impl Axis {
    pub(crate) const ALL: [Self; 6] =
        [Self::Layers, Self::Width, Self::Context, Self::Batch, Self::Vocabulary, Self::Group];

    /// Sizes that are measured, from small to large.
    pub(crate) fn sizes(self) -> &'static [usize] {
        match self {
            Self::Layers => &[1, 2, 4, 8, 16],
            Self::Width => &[32, 64, 128, 256, 512],
            Self::Context => &[32, 64, 128, 256, 512, 1024, 2048],
            Self::Batch => &[1, 2, 4, 8, 16, 32, 64],
            Self::Vocabulary => &[256, 1024, 4096, 16_384, 65_536],
            Self::Group => &[2, 4, 8, 16, 32, 64],
        }
    }

    /// Shape of a training step, or of an update for [`Axis::Group`], with this size.
    pub(crate) fn shape(self, size: usize) -> Shape {
        let base = Shape::BASE;
        match self {
            Self::Layers => Shape { n_layer: size, ..base },
            Self::Width => Shape { n_embd: size, ..base },
            Self::Vocabulary => Shape { vocab_size: size, ..base },
            Self::Context => Shape { row_len: size, n_targets: base.n_rows * size, ..base },
            Self::Batch => Shape { n_rows: size, n_targets: size * base.row_len, ..base },
            Self::Group => Shape {
                n_rows: PROMPTS,
                row_len: PROMPT_LEN + size * COMPLETION_LEN,
                n_targets: PROMPTS * size * COMPLETION_LEN,
                ..base
            },
        }
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Layers => "layers",
            Self::Width => "width",
            Self::Context => "context",
            Self::Batch => "batch",
            Self::Vocabulary => "vocabulary",
            Self::Group => "group size",
        })
    }
}

impl Shape {
    /// Training step around which each size is varied.
    pub(crate) const BASE: Self = Self {
        n_layer: 4,
        n_embd: 128,
        vocab_size: 1024,
        n_rows: 8,
        row_len: 128,
        n_targets: 8 * 128,
    };

    /// Config of part 3's model of this shape.
    pub(crate) fn config(&self) -> ModelConfig {
        let n_head = self.n_embd / HEAD_DIM;
        let byte_level = ModelConfig::byte_level(self.row_len, self.n_layer, n_head, self.n_embd);
        ModelConfig { vocab_size: self.vocab_size, ..byte_level }
    }

    fn n_tokens(&self) -> f64 {
        self.n_rows as f64 * self.row_len as f64
    }

    /// Width of the feed-forward layers, F.
    fn n_ff(&self) -> f64 {
        ModelConfig::swiglu_width(self.n_embd) as f64
    }

    // ANCHOR: flops
    /// FLOPs of the matrix products of a step.
    pub(crate) fn flops(&self) -> f64 {
        self.block_flops() + self.attention_flops() + self.head_flops()
    }

    /// FLOPs of the weights of the blocks: 2 per weight and token in the forward pass, 4 in the
    /// backward pass.
    pub(crate) fn block_flops(&self) -> f64 {
        let (n_layer, c, f) = (self.n_layer as f64, self.n_embd as f64, self.n_ff());
        6. * self.n_tokens() * n_layer * (4. * c * c + 3. * c * f)
    }

    /// FLOPs of attention: two products forward, five backward, each over the causal half of a row.
    pub(crate) fn attention_flops(&self) -> f64 {
        let (n_layer, c, t) = (self.n_layer as f64, self.n_embd as f64, self.row_len as f64);
        let pairs = self.n_rows as f64 * t * t / 2.;
        7. * 2. * n_layer * c * pairs
    }

    /// FLOPs of the LM head, at the positions with logits.
    pub(crate) fn head_flops(&self) -> f64 {
        6. * self.n_targets as f64 * self.n_embd as f64 * self.vocab_size as f64
    }
    // ANCHOR_END: flops

    // ANCHOR: bytes
    /// Bytes at the peak of a step: weights and moments, and what the backward pass needs at its
    /// start (all activations, logits) or at its end (all gradients, one block's activations).
    pub(crate) fn bytes(&self) -> f64 {
        let n_weights = self.config().parameter_count();
        let start = self.activation_bytes() + self.logit_bytes();
        let end = F32 * n_weights + self.activation_bytes() / self.n_layer as f64;
        3. * F32 * n_weights + start.max(end)
    }

    /// Bytes that the blocks keep for the backward pass.
    pub(crate) fn activation_bytes(&self) -> f64 {
        let (n_layer, c) = (self.n_layer as f64, self.n_embd as f64);
        let n_head = c / HEAD_DIM as f64;
        let numbers = 10. * c + 3. * self.n_ff() + n_head + 2.;
        F32 * self.n_tokens() * n_layer * numbers
    }

    /// Bytes of the logits of a chunk and their gradients; of several chunks also two gradients of
    /// the LM head, the sum and the latest.
    pub(crate) fn logit_bytes(&self) -> f64 {
        let (c, v) = (self.n_embd as f64, self.vocab_size as f64);
        let chunk_len = self.logits_chunk_len();
        let of_chunk = 2. * self.n_targets.min(chunk_len) as f64 * v;
        let of_sum = if self.n_targets > chunk_len { 2. * v * c } else { 0. };
        F32 * (of_chunk + of_sum)
    }
    // ANCHOR_END: bytes

    /// Positions whose logits are computed at a time.
    pub(crate) fn logits_chunk_len(&self) -> usize {
        (CHUNK_LOGITS / self.vocab_size).max(MIN_CHUNK_ROWS)
    }
}

#[cfg(test)]
mod tests;
