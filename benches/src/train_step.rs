//! One step of training, as every part's loop takes it, on random bytes.

use std::time::{Duration, Instant};

use candle_core::{DType, Device, Result, Tensor};
use serde::{Deserialize, Serialize};
use tensor_core::ops::cross_entropy;
use tensor_core::{AdamW, AdamWConfig, Parameters, Rng, backward, clip_grad_norm};
use tiny_gpt::{Gpt, GptConfig};

use crate::llama::{Llama, LlamaConfig};

/// A training step: a model's sizes and B, as they stand in a request.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "model", rename_all = "lowercase")]
pub enum Model {
    /// RMSNorm, rotary positions, SwiGLU.
    Llama {
        /// Sizes of the model.
        #[serde(flatten)]
        config: LlamaConfig,
        /// B
        batch_size: usize,
    },
    /// LayerNorm, learned positions, GELU: part 2's model.
    Gpt2 {
        /// V
        vocab: usize,
        /// T
        block_size: usize,
        /// Blocks.
        n_layer: usize,
        /// H
        n_head: usize,
        /// C
        n_embd: usize,
        /// B
        batch_size: usize,
    },
}

impl Model {
    /// The steps that the project measures itself by, each with a name.
    pub fn all() -> [(&'static str, Self); 3] {
        let llama = |n_layer, n_embd, n_head, n_ff, block_size, batch_size| Self::Llama {
            config: LlamaConfig { vocab_size: 256, n_layer, n_head, n_embd, n_ff, block_size },
            batch_size,
        };
        let nano = Self::Gpt2 {
            vocab: 256,
            block_size: 64,
            n_layer: 4,
            n_head: 4,
            n_embd: 128,
            batch_size: 12,
        };
        [
            ("6 layers, width 384, T 256, batch 8", llama(6, 384, 6, 1024, 256, 8)),
            ("2 layers, width 128, T 128, batch 16", llama(2, 128, 2, 344, 128, 16)),
            ("GPT-2 style, 4 layers, width 128, T 64, batch 12", nano),
        ]
    }

    /// Floating-point operations of a step's matrix products, attention's over the causal half alone.
    pub fn flops(&self) -> usize {
        let (b, t) = self.batch_shape();
        let (c, blocks) = match *self {
            Self::Llama {
                config: LlamaConfig { vocab_size, n_layer, n_embd, n_ff, .. }, ..
            } => (n_embd, n_layer * (4 * n_embd + 3 * n_ff) + vocab_size),
            Self::Gpt2 { vocab, n_layer, n_embd, .. } => {
                (n_embd, n_layer * (4 + 8) * n_embd + vocab)
            }
        };
        let n_layer = match *self {
            Self::Llama { config, .. } => config.n_layer,
            Self::Gpt2 { n_layer, .. } => n_layer,
        };
        // A product forward is two backward; attention's two forward are five backward, as one is done again.
        6 * b * t * c * blocks + 7 * n_layer * b * t * t * c
    }

    /// (B, T)
    pub fn batch_shape(&self) -> (usize, usize) {
        match *self {
            Self::Llama { config, batch_size } => (batch_size, config.block_size),
            Self::Gpt2 { block_size, batch_size, .. } => (batch_size, block_size),
        }
    }
}

enum Built {
    Llama(Llama),
    Gpt2(Gpt),
}

/// A model in training.
pub struct Training {
    model: Model,
    built: Built,
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
    pub fn new(model: Model) -> Result<Self> {
        let mut parameters = Parameters::seeded(1, DType::F32, &Device::Cpu);
        let built = match &model {
            Model::Llama { config, .. } => Built::Llama(Llama::new(config, parameters.root())?),
            &Model::Gpt2 { vocab, block_size, n_layer, n_head, n_embd, .. } => {
                let bytes = GptConfig::bytes(block_size, n_layer, n_head, n_embd);
                let config = GptConfig { vocab_size: vocab, ..bytes };
                Built::Gpt2(Gpt::new(&config, parameters.root())?)
            }
        };
        let optimizer = AdamW::new(&parameters, AdamWConfig::default())?;
        Ok(Self { model, built, parameters, optimizer, rng: Rng::new(2) })
    }

    /// What it trains.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// One step on fresh random bytes; gives the loss and the times.
    pub fn step(&mut self) -> Result<(f32, Times)> {
        let (inputs, targets) = (self.random_ids()?, self.random_ids()?.to_dtype(DType::I64)?);
        let start = Instant::now();
        let logits = match &self.built {
            Built::Llama(model) => model.forward(&inputs)?,
            Built::Gpt2(model) => model.forward(&inputs)?,
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
        let (b, t) = self.model.batch_shape();
        let vocab = match self.model {
            Model::Llama { config, .. } => config.vocab_size,
            Model::Gpt2 { vocab, .. } => vocab,
        };
        let ids = (0..b * t).map(|_| self.rng.below(vocab) as u32);
        Tensor::from_iter(ids, &Device::Cpu)?.reshape((b, t))
    }
}
