//! 5.1 Balance without a loss: who was asked too much becomes less likely to be asked, and nothing else changes.
//!
//! After each step, bₑ ← bₑ + u · sign(mean load − loadₑ). The bias enters the choice alone, not the weights, so that no gradient
//! pulls against the task's (Wang et al., <https://arxiv.org/abs/2408.15664>; DeepSeek-V3,
//! <https://arxiv.org/abs/2412.19437>, 2.1.2; there p is a sigmoid, here the softmax of the other sections).

use candle_core::{DType, Result, Tensor};
use tensor_core::Parameters;

use crate::expert_load::ExpertLoad;
use crate::router::SELECTION_BIAS;

/// The bias after a step in which the experts had `load`.
pub fn updated_bias(bias: &[f32], load: &ExpertLoad, speed: f64) -> Vec<f32> {
    let mean = load.total() as f64 / load.counts.len().max(1) as f64;
    let towards = |count: usize| match (mean - count as f64).partial_cmp(&0.) {
        Some(std::cmp::Ordering::Greater) => speed,
        Some(std::cmp::Ordering::Less) => -speed,
        _ => 0.,
    };
    bias.iter().zip(&load.counts).map(|(b, &count)| b + towards(count) as f32).collect()
}

/// Moves the biases of a model's layers, if it has any; `loads` are those of the layers in their order.
pub fn update_biases(parameters: &Parameters, loads: &[ExpertLoad], speed: f64) -> Result<()> {
    let biases = parameters.iter().filter(|parameter| parameter.name.ends_with(SELECTION_BIAS));
    for (parameter, load) in biases.zip(loads) {
        let var = &parameter.var;
        let bias: Vec<f32> = var.as_detached_tensor().to_dtype(DType::F32)?.to_vec1()?;
        let bias = Tensor::new(updated_bias(&bias, load, speed), var.device())?;
        var.set(&bias.to_dtype(var.dtype())?)?;
    }
    Ok(())
}
