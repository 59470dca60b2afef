//! Prefill and decoding of a model from a `.gguf` file, with the times of both.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use candle_core::Device;
use model_io::LoadMode;
use model_io::gguf::Gguf;
use modern::sampler::{Sampler, SamplingStrategy};
use modern::{CacheKind, Checkpoint, GenerateConfig, GenerationState, GptModern};
use serde::{Deserialize, Serialize};
use tensor_core::Rng;

/// Format of the weights in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weights {
    /// The quantized blocks of the file.
    Quantized,
    /// Dequantized to f32.
    F32,
}

/// Times of one generation.
#[derive(Debug, Clone)]
pub struct Times {
    /// Time to the first new token.
    pub prefill: Duration,
    /// Time of each further token.
    pub decode: Vec<Duration>,
}

/// Opens the model in the file for inference. Returns the model and the size of its weights in
/// bytes.
///
/// # Errors
/// Those of [`Checkpoint::open`].
pub fn open(path: &Path, weights: Weights) -> Result<(GptModern, usize)> {
    let source = path.to_str().context("the path is not UTF-8")?;
    let load_mode = match weights {
        Weights::Quantized => LoadMode::Inference,
        Weights::F32 => LoadMode::DequantizedInference,
    };
    let model = Checkpoint::open(source, load_mode, &Device::Cpu)?.model;
    Ok((model, weight_bytes(&Gguf::open(path)?, weights)))
}

/// Size of the weights in memory, in bytes. Decoding reads this much for each token.
pub fn weight_bytes(file: &Gguf, weights: Weights) -> usize {
    let tensors = file.tensor_infos().map(|(_, info)| match weights {
        Weights::Quantized => info.size_in_bytes(),
        Weights::F32 => info.dims.iter().product::<usize>() * size_of::<f32>(),
    });
    tensors.sum()
}

/// Prefills `prompt` random tokens, then generates `new` tokens greedily, without stop tokens.
///
/// # Errors
/// Those of [`generate`](fn@modern::generate).
pub fn time_generation(
    model: &GptModern,
    cache_kind: CacheKind,
    prompt: usize,
    new: usize,
) -> Result<Times> {
    let mut rng = Rng::new(0);
    let tokens = (0..prompt).map(|_| rng.below(model.config().vocab_size) as u32);
    let mut state = GenerationState::new(cache_kind.new_cache(model), tokens.collect());
    let config =
        GenerateConfig::new(model, Sampler::new(SamplingStrategy::Greedy), new, Vec::new());
    let mut times = Vec::with_capacity(new);
    let mut last = Instant::now();
    state.generate(model, &GenerateConfig { cache_kind, ..config }, &mut [rng], |_, _| {
        times.push(last.elapsed());
        last = Instant::now();
        Ok(())
    })?;
    let prefill = times.remove(0);
    Ok(Times { prefill, decode: times })
}
