//! One training step, as in the training loop of every part, on random tokens.

use std::time::{Duration, Instant};

use candle_core::{DType, Device, Module, Result, Tensor};
use model_io::config::{Mlp, ModelConfig};
use modern::GptModern;
use serde::{Deserialize, Serialize};
use tensor_core::ops::cross_entropy;
use tensor_core::{AdamW, AdamWConfig, Parameters, Rng, backward, clip_grad_norm};
use tiny_gpt::{Gpt, GptConfig};

/// Sizes of the model and of the batch of a training step, as in a request.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TrainStep {
    /// Architecture of the model.
    pub model: Architecture,
    /// Vocabulary size, V.
    pub vocab: usize,
    /// Context length, T.
    pub block_size: usize,
    /// Number of transformer blocks.
    pub n_layer: usize,
    /// Number of heads, H.
    pub n_head: usize,
    /// Width, C.
    pub n_embd: usize,
    /// Width of the feed-forward layers, F.
    pub n_ff: usize,
    /// Batch size, B.
    pub batch_size: usize,
}

/// Architecture of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// RMSNorm, rotary positions, SwiGLU, no biases: part 3's model.
    Llama,
    /// LayerNorm, learned positions, GELU, biases: part 2's model.
    Gpt2,
}

impl TrainStep {
    /// Benchmarked training steps, each with a name.
    pub fn all() -> [(&'static str, Self); 4] {
        let step = |model, n_layer, n_embd, n_head, n_ff, block_size, batch_size| Self {
            model,
            vocab: 256,
            block_size,
            n_layer,
            n_head,
            n_embd,
            n_ff,
            batch_size,
        };
        let (llama, gpt2) = (Architecture::Llama, Architecture::Gpt2);
        let stories = Self { vocab: 2048, ..step(llama, 4, 128, 4, 344, 256, 16) };
        [
            ("6 layers, width 384, T 256, batch 8", step(llama, 6, 384, 6, 1024, 256, 8)),
            ("2 layers, width 128, T 128, batch 16", step(llama, 2, 128, 2, 344, 128, 16)),
            (
                "GPT-2 style, 4 layers, width 128, T 64, batch 12",
                step(gpt2, 4, 128, 4, 512, 64, 12),
            ),
            ("part 4's stories: 4 layers, width 128, T 256, batch 16, V 2,048", stories),
        ]
    }

    /// Config of part 3's model with these sizes.
    pub fn modern(&self) -> ModelConfig {
        let Self { vocab: vocab_size, block_size, n_layer, n_head, n_embd, n_ff, .. } = *self;
        let mlp = Mlp::SwiGlu { width: n_ff };
        let byte_level = ModelConfig::byte_level(block_size, n_layer, n_head, n_embd);
        ModelConfig { vocab_size, mlp, ..byte_level }
    }

    /// Config of part 2's model with these sizes; its feed-forward layers are always 4 C wide.
    fn gpt2(&self) -> GptConfig {
        let Self { vocab: vocab_size, block_size, n_layer, n_head, n_embd, .. } = *self;
        GptConfig { vocab_size, ..GptConfig::byte_level(block_size, n_layer, n_head, n_embd) }
    }

    /// FLOPs of the matrix products of a step; those of attention count the causal half only.
    pub fn flops(&self) -> usize {
        let Self { vocab, block_size: t, n_layer, n_embd: c, n_ff, batch_size: b, .. } = *self;
        let matrices = if self.model == Architecture::Llama { 3 } else { 2 };
        let rows = n_layer * (4 * c + matrices * n_ff) + vocab;
        // Each product of the forward pass costs two in the backward pass. Attention has two in the
        // forward pass and five in the backward pass, which recomputes one.
        6 * b * t * c * rows + 7 * n_layer * b * t * t * c
    }
}

enum Model {
    Llama(Box<GptModern>),
    Gpt2(Gpt),
}

impl Model {
    fn new(sizes: &TrainStep, parameters: &mut Parameters) -> Result<Self> {
        Ok(match sizes.model {
            Architecture::Llama => {
                Self::Llama(Box::new(GptModern::new(&sizes.modern(), parameters.root())?))
            }
            Architecture::Gpt2 => Self::Gpt2(Gpt::new(&sizes.gpt2(), parameters.root())?),
        })
    }

    fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        match self {
            Self::Llama(model) => model.forward(ids),
            Self::Gpt2(model) => model.forward(ids),
        }
    }
}

/// A model with its optimizer, and the generator of its batches.
pub struct Training {
    sizes: TrainStep,
    /// Parameters as the model computes with them.
    compute_parameters: Parameters,
    model: Model,
    parameters: Parameters,
    optimizer: AdamW,
    rng: Rng,
}

/// Durations of the phases of a step. A GPU computes while the next phase has begun, so there the
/// step alone is measured.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Forward pass and loss.
    pub forward: Duration,
    /// Backward pass.
    pub backward: Duration,
    /// Whole step, with gradient clipping and the optimizer step.
    pub step: Duration,
}

impl Training {
    /// Initializes the model on `device` from a fixed seed; it computes in `dtype`.
    pub fn new(sizes: TrainStep, dtype: DType, device: &Device) -> Result<Self> {
        let mut parameters = Parameters::seeded(1, DType::F32, device);
        Model::new(&sizes, &mut parameters)?;
        let optimizer = AdamW::new(&parameters, AdamWConfig::default())?;
        let mut compute_parameters = parameters.with_compute_dtype(dtype);
        let model = Model::new(&sizes, &mut compute_parameters)?;
        Ok(Self { sizes, compute_parameters, model, parameters, optimizer, rng: Rng::new(2) })
    }

    /// Runs one step on a new random batch and returns the loss and the durations.
    pub fn step(&mut self) -> Result<(f32, Times)> {
        let (inputs, targets) = (self.random_ids()?, self.random_ids()?.to_dtype(DType::I64)?);
        let start = Instant::now();
        if self.compute_parameters.is_mixed_precision() {
            self.model = Model::new(&self.sizes, &mut self.compute_parameters)?; // rounded copies
        }
        let logits = self.model.forward(&inputs)?;
        let loss = cross_entropy(&logits.to_dtype(DType::F32)?, &targets)?;
        drop(logits);
        let forward = start.elapsed();
        let mut grads = backward(&loss)?;
        let backward = start.elapsed() - forward;
        clip_grad_norm(&mut grads, &self.parameters, 1.)?;
        self.optimizer.step(&grads, 1e-3)?;
        let loss = loss.to_scalar()?; // waits for the device
        Ok((loss, Times { forward, backward, step: start.elapsed() }))
    }

    fn random_ids(&mut self) -> Result<Tensor> {
        let TrainStep { batch_size: b, block_size: t, vocab, .. } = self.sizes;
        let ids = (0..b * t).map(|_| self.rng.below(vocab) as u32);
        Tensor::from_iter(ids, self.parameters.device())?.reshape((b, t))
    }
}
