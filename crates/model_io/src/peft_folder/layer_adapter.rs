//! Adapter of a layer, and the names of its tensors in a file of peft.

use candle_core::Tensor;

/// Prefix of peft before the names of the model's layers.
pub(super) const PREFIX: &str = "base_model.model.";

/// Adapter of one layer, as a file has it.
pub(super) struct LayerAdapter {
    pub(super) layer: String,
    pub(super) scale: f64,
    pub(super) lora_a: Tensor,
    pub(super) lora_b: Tensor,
    pub(super) magnitude: Option<Tensor>,
}

/// Error about `layer`, which lacks one of its matrices.
pub(super) fn incomplete(layer: &str) -> String {
    format!("adapter of layer {layer} is incomplete: expected lora_A and lora_B")
}
