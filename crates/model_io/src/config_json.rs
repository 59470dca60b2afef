//! `config.json`: a [`ModelConfig`](crate::ModelConfig) in the format of transformers.
//!
//! Llama, Mistral, Qwen2 and Qwen3 are special cases of our configuration and are written under
//! their names. Every other model gets `model_type: llm_from_scratch`, which transformers refuses
//! instead of misreading it.

mod family;
mod write;
mod read;

pub use read::from_json;
pub use write::{add_custom_keys, to_custom_json, to_json};
