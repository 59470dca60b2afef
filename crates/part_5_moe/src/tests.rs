//! Tests of part 5, one module per topic.

mod router;
mod losses;
mod balancing;
mod dispatch;
mod layer;
mod model;
mod folder;
mod training;
mod devices;
mod picture;

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Result, Tensor};
use model_io::ModelConfig;
use model_io::config::Mlp;
use tensor_core::ops::Gelu;
use tensor_core::{Init, Parameters, Rng};

use crate::config::{GateWeights, MoeConfig, RouterConfig, RouterTrainingConfig};
use crate::{GptMoe, MoeLayer};

const CPU: Device = Device::Cpu;
/// Channels C.
const WIDTH: usize = 6;
const SWIGLU: Mlp = Mlp::SwiGlu { width: 5 };
const GELU: Mlp = Mlp::Gelu { width: 5, form: Gelu::Tanh };

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file)
}

fn random(seed: u64, shape: impl Into<candle_core::Shape>, dtype: DType) -> Result<Tensor> {
    Rng::new(seed).normal_tensor(shape, 1., dtype, &CPU)
}

/// A router of each kind: one or several experts; renormalized, scaled or raw gate weights.
fn routers() -> Vec<RouterConfig> {
    let raw = |router| RouterConfig { gate_weights: GateWeights::Raw, ..router };
    vec![
        RouterConfig::new(4, 1),
        RouterConfig::new(4, 2),
        raw(RouterConfig::new(4, 1)),
        raw(RouterConfig::new(5, 3)),
        RouterConfig::new(3, 3),
        RouterConfig::new(1, 1),
    ]
}

/// A layer whose weights are large enough to affect the results.
fn layer(
    router: RouterConfig,
    mlp: Mlp,
    router_training: RouterTrainingConfig,
    dtype: DType,
) -> Result<(MoeLayer, Parameters)> {
    let mut parameters = Parameters::seeded(3, dtype, &CPU);
    let (root, init) = (parameters.root(), Init::Normal { std: 0.7 });
    let layer = MoeLayer::new(root, WIDTH, router, mlp, router_training, init, init)?;
    // Biases are initialized to 0, which would hide a missing one.
    for parameter in parameters.iter().filter(|p| p.name.ends_with("bias")) {
        parameter.var.set(&random(8, parameter.var.shape(), dtype)?)?;
    }
    Ok((layer, parameters))
}

/// Two layers of width 16 with token ids below 11.
fn tiny_config(router: RouterConfig) -> Result<MoeConfig> {
    let dense = ModelConfig { vocab_size: 11, ..ModelConfig::byte_level(64, 2, 4, 16) };
    MoeConfig::with_flops_of(&dense, router)
}

/// A new model with weights that are large enough for non-uniform routing.
fn new_model(config: &MoeConfig, dtype: DType) -> Result<(GptMoe, Parameters)> {
    let mut parameters = Parameters::seeded(1, dtype, &CPU);
    let model = GptMoe::new(config, parameters.root())?;
    for parameter in parameters.iter().filter(|p| p.name.ends_with("weight")) {
        if !parameter.name.contains("norm") && !parameter.name.contains("embed") {
            parameter.var.set(&(parameter.var.as_tensor() * 20.)?)?;
        }
    }
    Ok((model, parameters))
}

fn ids(b: usize, t: usize, seed: u64) -> Result<Tensor> {
    let mut rng = Rng::new(seed);
    let ids: Vec<u32> = (0..b * t).map(|_| rng.below(11) as u32).collect();
    Tensor::from_vec(ids, (b, t), &CPU)
}
