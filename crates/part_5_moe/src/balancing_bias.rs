//! 5.1 Auxiliary-loss-free load balancing: a bias per expert lowers the selection of overloaded
//! experts and raises that of underloaded ones.
//!
//! After each step, bₑ ← bₑ + u · sign(mean load − loadₑ). The bias affects the selection only, not
//! the gate weights, so there is no auxiliary gradient that interferes with the cross-entropy's
//! (Wang et al., <https://arxiv.org/abs/2408.15664>; DeepSeek-V3,
//! <https://arxiv.org/abs/2412.19437>, 2.1.2; there p is a sigmoid, here the softmax of the other
//! sections).

use candle_core::{DType, Result, Tensor};
use tensor_core::Parameters;

use crate::expert_load::ExpertLoad;
use crate::router::SELECTION_BIAS;

/// Bias after a step in which the experts had `load`; `rate` is u.
pub fn updated_bias(bias: &[f32], load: &ExpertLoad, rate: f64) -> Vec<f32> {
    let mean = load.total() as f64 / load.counts.len().max(1) as f64;
    let change = |count: usize| match (mean - count as f64).partial_cmp(&0.) {
        Some(std::cmp::Ordering::Greater) => rate,
        Some(std::cmp::Ordering::Less) => -rate,
        _ => 0.,
    };
    bias.iter().zip(&load.counts).map(|(b, &count)| b + change(count) as f32).collect()
}

/// Updates the selection biases of a model, if it has any. `loads` are those of its layers, in
/// order.
pub fn update_biases(parameters: &Parameters, loads: &[ExpertLoad], rate: f64) -> Result<()> {
    let biases = parameters.iter().filter(|parameter| parameter.name.ends_with(SELECTION_BIAS));
    for (parameter, load) in biases.zip(loads) {
        let var = &parameter.var;
        // Added on the device, which is not waited for.
        let change = updated_bias(&vec![0.; load.counts.len()], load, rate);
        let bias = var.as_detached_tensor().to_dtype(DType::F32)?;
        let bias = (bias + Tensor::new(change, var.device())?)?;
        var.set(&bias.to_dtype(var.dtype())?)?;
    }
    Ok(())
}
