//! Unit tests of this part, section by section.

mod cache;
mod mixed_layers;
mod lessons;
mod model;
mod chunked_logits;
mod mixed_precision;
mod generation_config;
mod model_folder;
mod generation;
mod prompt_lookup;
mod chat;
mod flags;
mod sampler;

use candle_core::{DType, Device, Result, Tensor};
use model_io::ModelConfig;
use model_io::testing::{tiny, variants};
use tensor_core::{Parameters, Rng};

use crate::GptModern;

const CPU: Device = Device::Cpu;

fn fresh(config: &ModelConfig, dtype: DType) -> Result<(GptModern, Parameters)> {
    let mut parameters = Parameters::seeded(1, dtype, &CPU);
    let model = GptModern::new(config, parameters.root())?;
    // Fresh weights are so small that a wrong mask would hardly change the logits.
    for parameter in parameters.iter().filter(|p| p.name.ends_with("proj.weight")) {
        parameter.var.set(&(parameter.var.as_tensor() * 20.)?)?;
    }
    Ok((model, parameters))
}

fn ids(b: usize, t: usize, seed: u64) -> Result<Tensor> {
    let mut rng = Rng::new(seed);
    let ids: Vec<u32> = (0..b * t).map(|_| rng.below(11) as u32).collect();
    Tensor::from_vec(ids, (b, t), &CPU)
}

/// Error message of a result that must be an error.
fn error<T>(result: anyhow::Result<T>) -> String {
    format!("{:#}", result.err().expect("an error"))
}
