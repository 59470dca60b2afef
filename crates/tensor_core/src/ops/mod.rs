//! Differentiable operations, each in a file of its own that starts with its formula.
//!
//! Each has a fused implementation for f32 and f64 on the CPU, recorded in the
//! [graph](crate::graph), and a `reference` of plain tensor operations, which other devices and
//! dtypes use and which the tests compare with. 16-bit dtypes compute in f32 and round back, but
//! for matrix products, rotations and row lookups, which stay in their dtype as in transformers.
//! candle's own fused operations (`candle_nn`) drop the gradient silently, so nothing here uses
//! them. Soft caps ([`softcap`](mod@softcap)) are plain tensor operations only.
//!
//! The fused implementation of an operation is its formula on slices: `map_rows!`, `map_elements!`
//! and `build` of the kernels run it on all threads and vector units.
//!
//! # Ids and targets on a GPU
//!
//! Ids and targets are checked on the CPU only, because on a GPU each check would wait for the
//! device. One that does not exist fails an assertion of candle's kernel there: a later call
//! returns CUDA's error, and the process cannot use the GPU any more. (The largest number of their
//! dtype passes: it stands for a row or a logit of 0.)

mod dispatch;
pub mod add;
pub mod softmax;
pub mod log_softmax;
pub mod layer_norm;
pub mod rms_norm;
pub mod gelu;
pub mod silu_mul;
pub mod dropout;
pub mod linear;
pub mod grouped_linear;
pub mod embedding;
pub mod scatter_combine;
pub mod rope;
pub mod mask;
pub mod attention;
pub mod softcap;
pub mod self_attention;
pub mod cross_entropy;
pub mod token_log_probs;
pub mod entropy;

pub use add::add;
pub use attention::{attention, attention_weights};
pub use cross_entropy::{IGNORE_INDEX, cross_entropy};
pub use dropout::dropout;
pub use embedding::embedding;
pub use entropy::entropy;
pub use gelu::{Gelu, gelu};
pub use grouped_linear::grouped_linear;
pub use layer_norm::layer_norm;
pub use linear::linear;
pub use log_softmax::log_softmax;
pub use mask::AttentionMask;
pub use rms_norm::rms_norm;
pub use rope::{Positions, rope};
pub use scatter_combine::scatter_combine;
pub use self_attention::self_attention;
pub use silu_mul::silu_mul;
pub use softcap::{softcap, softcap_attention, softcap_attention_weights};
pub use softmax::softmax;
pub use token_log_probs::token_log_probs;
