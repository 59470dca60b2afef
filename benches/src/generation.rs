//! A model that reads a prompt and writes on, with the times of both.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use candle_core::Device;
use modern::gguf::Gguf;
use modern::sampler::{Sampler, SamplingStrategy};
use modern::{CacheKind, Checkpoint, GenerateConfig, GenerationState, GptModern, LoadMode};
use serde::{Deserialize, Serialize};
use tensor_core::Rng;

/// How the weights of a `.gguf` file are held in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weights {
    /// As the file has them.
    Quantized,
    /// As numbers of 32 bits.
    F32,
}

/// How long a text took.
#[derive(Debug, Clone)]
pub struct Times {
    /// From the prompt to the first new token.
    pub prefill: Duration,
    /// Of each new token but the first.
    pub decode: Vec<Duration>,
}

/// The model in the file, for inference, and the bytes of its weights.
///
/// # Errors
/// As [`Checkpoint::open`].
pub fn open(path: &Path, weights: Weights) -> Result<(GptModern, usize)> {
    let source = path.to_str().context("a path that is not UTF-8")?;
    let purpose = match weights {
        Weights::Quantized => LoadMode::Inference,
        Weights::F32 => LoadMode::DequantizedInference,
    };
    Ok((Checkpoint::open(source, purpose, &Device::Cpu)?.model, bytes(&Gguf::open(path)?, weights)))
}

/// What the weights in a file take in memory, and so what each token has to read.
pub fn bytes(file: &Gguf, weights: Weights) -> usize {
    let tensors = file.tensor_infos().map(|(_, info)| match weights {
        Weights::Quantized => info.size_in_bytes(),
        Weights::F32 => info.dims.iter().product::<usize>() * size_of::<f32>(),
    });
    tensors.sum()
}

/// Reads `prompt` random tokens, then writes `new` ones, whatever they are.
///
/// # Errors
/// As [`generate`](fn@modern::generate).
pub fn write(model: &GptModern, memory: CacheKind, prompt: usize, new: usize) -> Result<Times> {
    let mut rng = Rng::new(0);
    let tokens = (0..prompt).map(|_| rng.below(model.config().vocab_size) as u32);
    let mut text = GenerationState::new(memory.new_cache(model), tokens.collect());
    let config =
        GenerateConfig::new(model, Sampler::new(SamplingStrategy::Greedy), new, Vec::new());
    let mut times = Vec::with_capacity(new);
    let mut last = Instant::now();
    text.generate(model, &GenerateConfig { cache_kind: memory, ..config }, &mut [rng], |_, _| {
        times.push(last.elapsed());
        last = Instant::now();
        Ok(())
    })?;
    let prefill = times.remove(0);
    Ok(Times { prefill, decode: times })
}
