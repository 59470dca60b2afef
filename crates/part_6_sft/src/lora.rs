//! 6.5 LoRA: low-rank adapters beside frozen weights (Hu et al.,
//! <https://arxiv.org/abs/2106.09685>).
//!
//! ```text
//! y = x Wᵀ + s · (x Aᵀ) Bᵀ = x (W + s · B A)ᵀ      s = α / R, rsLoRA: α / √R
//! W: (out, in) frozen,  A: (R, in) random,  B: (out, R) zero at first
//! ```
//!
//! Training computes the first form: the gradients of A and B have R · (in + out) numbers, that of
//! W + s · B A would have in · out. Merging computes the second, with [`lora_weight`].
//!
//! rsLoRA (Kalajdzievski, <https://arxiv.org/abs/2312.03732>) divides by √R: with α / R the update
//! shrinks as the rank grows. DoRA (Liu et al., <https://arxiv.org/abs/2402.09353>) also trains the
//! lengths m of the rows of the weight, which start at ‖W‖; A and B then change their directions
//! ([`dora_weight`]).
//!
//! B starts at zero, so fine-tuning starts exactly at the base model; were A zero too, neither
//! would get a gradient. The optimizer holds moments of A and B only. Layers are selected by the
//! ends of their names. Adapters on all layers come close to full fine-tuning (Schulman et al.,
//! "LoRA Without Regret"; they use ten times the learning rate of full fine-tuning, which is too
//! high for the small models of this course). The base weights stay unchanged: built from
//! [`Parameters::without_adapters`], the model is the reference model of parts 8 and 9 without a
//! second copy.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use candle_core::Tensor;
use model_io::{LoraConfig, LoraVariant};
use tensor_core::{LoraScaling, Parameter, Parameters, Rng, at_least_f32};

// ANCHOR: lora
/// Weight of an adapted layer, W + s · B A, for `w: (out, in)`, `a: (R, in)`, `b: (out, R)` and
/// `scale` s = α / R: (out, in). A layer with this weight computes what [`tensor_core::Linear`]
/// does with `w` and the adapter beside it.
pub fn lora_weight(w: &Tensor, a: &Tensor, b: &Tensor, scale: f64) -> candle_core::Result<Tensor> {
    let update = (b.matmul(a)? * scale)?; // (out, R) x (R, in) -> (out, in)
    w + update
}
// ANCHOR_END: lora

/// Weight of a layer with DoRA: the rows of `w`, the [`lora_weight`], (out, in), scaled to the
/// lengths `magnitude`, (out).
pub fn dora_weight(w: &Tensor, magnitude: &Tensor) -> candle_core::Result<Tensor> {
    let norms = w.sqr()?.sum_keepdim(1)?.sqrt()?; // (out, 1)
    w.broadcast_div(&norms)?.broadcast_mul(&magnitude.unsqueeze(1)?)
}

/// Freezes all parameters and adds fresh adapters to the layers that `config` selects, with A and
/// dropout drawn from `seed`. A model of `parameters` must be built again, which costs nothing.
///
/// # Errors
/// Those of [`LoraConfig::resolve_layers`], or when a layer already has an adapter.
pub fn attach(parameters: &mut Parameters, config: &LoraConfig, seed: u64) -> Result<()> {
    let layers = config.resolve_layers(parameters)?;
    parameters.freeze(|_| true);
    let mut rng = Rng::new(seed);
    let (dtype, device) = (parameters.dtype(), parameters.device().clone());
    for (layer, (n_out, n_in)) in layers {
        let bound = 1. / (n_in as f64).sqrt(); // as in peft and in PyTorch's linear layers
        let a = rng.uniform_tensor((config.rank, n_in), (-bound, bound), dtype, &device)?;
        let b = Tensor::zeros((n_out, config.rank), dtype, &device)?;
        let scaling = LoraScaling { scale: config.scale(), dropout: config.dropout };
        parameters.add_adapter(&layer, &a, &b, scaling)?;
        if config.variant == LoraVariant::Dora {
            let magnitude = parameters.row_norms(&layer)?;
            parameters.add_magnitude(&layer, &magnitude)?;
        }
    }
    parameters.set_dropout_rng(rng.fork());
    Ok(())
}

/// Merges the adapters, W ← W + s · B A in every adapted layer (DoRA: [`dora_weight`]): the model
/// [without adapters](Parameters::without_adapters) then computes the same as with them before, at
/// no extra cost. The weights are computed in f32 or wider, for parameters of any dtype.
///
/// # Errors
/// When a layer's weight is quantized.
pub fn merge(parameters: &Parameters) -> Result<()> {
    for layer in parameters.adapters().keys() {
        let (weight, merged) = merged_layer(parameters, layer)?;
        weight.var.set(&merged.to_dtype(weight.var.dtype())?)?;
    }
    Ok(())
}

/// All weights by name, merged as by [`merge`] but in the dtype of the adapters if that is wider;
/// `parameters` stay unchanged, bit for bit.
///
/// # Errors
/// Those of [`merge`].
pub fn merged_weights(parameters: &Parameters) -> Result<BTreeMap<String, Tensor>> {
    let base = parameters.without_adapters();
    let mut tensors: BTreeMap<String, Tensor> =
        base.iter().map(|p| (p.name.clone(), p.var.as_detached_tensor())).collect();
    for layer in parameters.adapters().keys() {
        let (weight, merged) = merged_layer(parameters, layer)?;
        tensors.insert(weight.name.clone(), merged.to_dtype(parameters.stored_dtype())?);
    }
    Ok(tensors)
}

/// Weight of the layer called `layer`, and the weight merged with its adapter, in f32 or wider.
fn merged_layer<'a>(parameters: &'a Parameters, layer: &str) -> Result<(&'a Parameter, Tensor)> {
    let weight = parameters.get(&format!("{layer}.weight"));
    let weight = weight.with_context(|| {
        format!(
            "the weight of {layer} is quantized and cannot be merged: open the model dequantized"
        )
    })?;
    let adapter = parameters.adapters().get(layer).zip(parameters.adapter_parameters(layer));
    let (scaling, [a, b]) = adapter.with_context(|| {
        format!("adapter of layer {layer} is incomplete: expected lora_A and lora_B")
    })?;
    let mut merged = lora_weight(&in_f32(weight)?, &in_f32(a)?, &in_f32(b)?, scaling.scale)?;
    if let Some(magnitude) = parameters.magnitude(layer) {
        merged = dora_weight(&merged, &in_f32(magnitude)?)?;
    }
    Ok((weight, merged))
}

/// Values of a parameter in f32, or wider as they are.
fn in_f32(parameter: &Parameter) -> candle_core::Result<Tensor> {
    at_least_f32(&parameter.var.as_detached_tensor())
}
