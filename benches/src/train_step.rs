//! One step of training, as every part's loop takes it, on random bytes.

use std::time::{Duration, Instant};

use candle_core::{DType, Device, Result, Tensor};
use modern::GptModern;
use modern::config::{Mlp, ModelConfig};
use serde::{Deserialize, Serialize};
use tensor_core::ops::cross_entropy;
use tensor_core::{AdamW, AdamWConfig, Parameters, Rng, backward, clip_grad_norm};
use tiny_gpt::{Gpt, GptConfig};

/// A training step: a model's sizes and B, as they stand in a request.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Whose architecture.
    pub model: Architecture,
    /// V
    pub vocab: usize,
    /// T
    pub block_size: usize,
    /// Blocks.
    pub n_layer: usize,
    /// H
    pub n_head: usize,
    /// C
    pub n_embd: usize,
    /// F
    pub n_ff: usize,
    /// B
    pub batch_size: usize,
}

/// The two architectures that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// RMSNorm, rotary positions, SwiGLU, no biases: part 3's model.
    Llama,
    /// LayerNorm, learned positions, GELU, biases: part 2's model.
    Gpt2,
}

impl Step {
    /// The steps that the project measures itself by, each with a name.
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

    /// Part 3's model of these sizes.
    pub fn modern(&self) -> ModelConfig {
        let Self { vocab: vocab_size, block_size, n_layer, n_head, n_embd, n_ff, .. } = *self;
        let mlp = Mlp::SwiGlu { width: n_ff };
        let bytes = ModelConfig::byte_level(block_size, n_layer, n_head, n_embd);
        ModelConfig { vocab_size, mlp, ..bytes }
    }

    /// Part 2's; its feed-forward layers are 4 C wide.
    fn gpt(&self) -> GptConfig {
        let Self { vocab: vocab_size, block_size, n_layer, n_head, n_embd, .. } = *self;
        GptConfig { vocab_size, ..GptConfig::byte_level(block_size, n_layer, n_head, n_embd) }
    }

    /// Floating-point operations of its matrix products, attention's over the causal half alone.
    pub fn flops(&self) -> usize {
        let Self { vocab, block_size: t, n_layer, n_embd: c, n_ff, batch_size: b, .. } = *self;
        let matrices = if self.model == Architecture::Llama { 3 } else { 2 };
        let rows = n_layer * (4 * c + matrices * n_ff) + vocab;
        // A product forward is two backward; attention's two forward are five backward, as one is done again.
        6 * b * t * c * rows + 7 * n_layer * b * t * t * c
    }
}

enum Model {
    Llama(Box<GptModern>),
    Gpt2(Gpt),
}

/// A model in training.
pub struct Training {
    what: Step,
    model: Model,
    parameters: Parameters,
    optimizer: AdamW,
    rng: Rng,
}

/// How long the parts of a step took.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Forward pass and loss.
    pub forward: Duration,
    /// Backward pass.
    pub backward: Duration,
    /// Everything, clipping and update included.
    pub step: Duration,
}

impl Training {
    /// Fresh weights from a fixed seed.
    pub fn new(what: Step) -> Result<Self> {
        let mut parameters = Parameters::seeded(1, DType::F32, &Device::Cpu);
        let model = match what.model {
            Architecture::Llama => {
                Model::Llama(Box::new(GptModern::new(&what.modern(), parameters.root())?))
            }
            Architecture::Gpt2 => Model::Gpt2(Gpt::new(&what.gpt(), parameters.root())?),
        };
        let optimizer = AdamW::new(&parameters, AdamWConfig::default())?;
        Ok(Self { what, model, parameters, optimizer, rng: Rng::new(2) })
    }

    /// What it does.
    pub fn what(&self) -> &Step {
        &self.what
    }

    /// One step on fresh random bytes; gives the loss and the times.
    pub fn step(&mut self) -> Result<(f32, Times)> {
        let (inputs, targets) = (self.random_ids()?, self.random_ids()?.to_dtype(DType::I64)?);
        let start = Instant::now();
        let logits = match &self.model {
            Model::Llama(model) => model.forward(&inputs)?,
            Model::Gpt2(model) => model.forward(&inputs)?,
        };
        let loss = cross_entropy(&logits, &targets)?;
        drop(logits);
        let forward = start.elapsed();
        let mut grads = backward(&loss)?;
        let backward = start.elapsed() - forward;
        clip_grad_norm(&mut grads, &self.parameters, 1.)?;
        self.optimizer.step(&grads, 1e-3)?;
        let loss = loss.to_scalar()?;
        Ok((loss, Times { forward, backward, step: start.elapsed() }))
    }

    fn random_ids(&mut self) -> Result<Tensor> {
        let Step { batch_size: b, block_size: t, vocab, .. } = self.what;
        let ids = (0..b * t).map(|_| self.rng.below(vocab) as u32);
        Tensor::from_iter(ids, &Device::Cpu)?.reshape((b, t))
    }
}
