//! What this part claims, section by section.

mod trl_names;
mod policy_gradient;
mod reinforce;
mod trust_region;
mod critic;
mod rollout;
mod objective;
mod kl;
mod small_run;
mod experience;
mod update;
mod step_by_hand;
mod ranks;
mod devices;
mod training;
mod precision;
mod alarms;
mod probe_worlds;
mod comparison;
mod reference;
mod golden;
mod estimators;
mod reward_fn;
mod judge;
mod completion_log;
#[cfg(target_os = "linux")]
mod code_reward;
#[cfg(unix)]
mod reward_program;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use model_io::ModelConfig;
use modern::{GptModern, Sampler, SamplingStrategy};
use tensor_core::Parameters;

use crate::RolloutConfig;

const CPU: Device = Device::Cpu;
const END: u32 = 0; // also what fills up rows

fn config() -> ModelConfig {
    let init_std = ModelConfig::GPT2_INIT_STD;
    ModelConfig { vocab_size: 12, init_std, ..ModelConfig::byte_level(24, 2, 2, 16) }
}

/// A model that is sure of something: weights larger than at birth.
fn policy(config: &ModelConfig, seed: u64) -> Result<(GptModern, Parameters)> {
    let mut parameters = Parameters::seeded(seed, DType::F32, &CPU);
    let model = GptModern::new(config, parameters.root())?;
    for parameter in parameters.iter() {
        parameter.var.set(&(parameter.var.as_detached_tensor() * 6.)?)?;
    }
    Ok((model, parameters))
}

fn inference_model(config: &ModelConfig, parameters: &Parameters) -> Result<GptModern> {
    Ok(GptModern::new(config, parameters.for_inference().root())?)
}

fn at(temperature: f64, top_k: Option<usize>, top_p: Option<f64>) -> RolloutConfig {
    RolloutConfig::new(
        4,
        Sampler::new(SamplingStrategy::Random { temperature, top_k, top_p, min_p: None }),
        6,
        vec![END],
    )
}

/// Rows of numbers, in f64.
fn rows<const R: usize, const T: usize>(x: [[f64; T]; R]) -> Result<Tensor> {
    Ok(Tensor::new(&x, &CPU)?)
}

fn number(x: &Tensor) -> f64 {
    x.to_dtype(DType::F64).and_then(|x| x.to_scalar()).expect("a number")
}
