//! Differentiable operations that every part shares, each in a file of its own beside its formula.
//!
//! candle's own fused versions (`candle_nn`) cut the gradient without a word; nothing here uses them.

pub(crate) mod cpu;
pub(crate) mod node;
mod product;
pub mod softmax;
pub mod layer_norm;
pub mod gelu;
pub mod linear;
pub mod embedding;
pub mod self_attention;
pub mod cross_entropy;

pub use cross_entropy::{IGNORE_INDEX, cross_entropy};
pub use embedding::embedding;
pub use gelu::{Gelu, gelu};
pub use layer_norm::layer_norm;
pub use linear::linear;
pub use self_attention::self_attention;
pub use softmax::softmax;
