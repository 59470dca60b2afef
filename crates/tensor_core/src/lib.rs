#![doc = include_str!("../README.md")]

// Letters in shapes: B batch, T queries (tokens), S keys, C channels (n_embd), H query heads, KV
// key/value heads, D channels per head, P positions, V vocabulary, N rows.

pub mod device;
pub mod threads;
pub mod allocator;
pub mod memory;
pub mod rng;
pub mod precision;
pub mod parameters;
pub mod weights;
pub mod graph;
pub mod ops;
pub mod quantized;
pub mod weight;
pub mod adapter;
pub mod linear;
pub mod embedding;
pub mod layer_norm;
pub mod dropout;
pub mod adamw;
mod moments;
mod dynamic_quantization;
pub mod muon;
pub mod optimizer;
mod optimizer_state;
pub mod clip;
pub mod gradient_report;
pub mod atomic_file;
pub mod regular_file;
pub mod json_file;
pub mod output;
pub mod sha256;
mod mapped_file;
pub mod testing;
pub(crate) mod kernels;

pub use adamw::{AdamW, AdamWConfig};
pub use adapter::{LoraAdapter, LoraScaling, Magnitude};
pub use clip::clip_grad_norm;
pub use device::DeviceChoice;
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use gradient_report::{GradientReport, GradientRow, gradient_report};
pub use graph::{
    backward, gradient_checkpoint, gradient_checkpoint_all, map_row_chunks, reshape, sum_row_chunks,
};
pub use layer_norm::LayerNorm;
pub use linear::{Bias, Linear};
pub use mapped_file::MappedFile;
pub use moments::MomentFormat;
pub use muon::{Muon, MuonConfig};
pub use optimizer::{Optimizer, OptimizerConfig};
pub use parameters::{Init, Parameter, Parameters, Scope, WeightDecay};
pub use precision::{at_least_f32, in_f32};
pub use rng::Rng;
pub use weight::Weight;

#[cfg(test)]
mod tests;
