//! `config.json`: how transformers says what [`ModelConfig`](crate::ModelConfig) says.
//!
//! Llama, Mistral, Qwen2 and Qwen3 are points in the space of our configurations, and are written under their names. What
//! none of them is gets `model_type: llm_from_scratch`, which transformers refuses by name instead of misreading it.

mod family;
mod write;
mod fields;
mod read;

pub(crate) use fields::Fields;
pub use read::from_json;
pub use write::{to_custom_json, to_json};
