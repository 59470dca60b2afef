#![doc = include_str!("../README.md")]

// Letters used in shapes: B batch, T time (tokens), S tokens attended to (cached and new), C
// channels (n_embd), H query heads, KV key-value heads, D channels of a head, F width of the
// feed-forward layer, V vocabulary.

#[macro_use]
extern crate tensor_core; // its `println!` and the like, which do not panic

pub mod rms_norm; // 3.1
pub mod rope; // 3.2
pub mod swiglu; // 3.3
pub mod kv_cache; // 3.4
pub mod sliding_window; // 3.5
pub mod rolling_cache; // 3.6
pub mod attention_context; // 3.7
pub mod cache;
pub mod attention;
pub mod block;
mod block_stack;
pub mod experts;
mod input_embedding;
pub mod model;
mod chunked_logits;
mod mixed_precision;
pub mod sampler;
pub mod generate_config;
pub mod completion;
pub mod prompt_lookup; // 3.8
mod prompt_too_long;
pub mod generation_state;
pub mod generation;
pub mod perplexity;
pub mod checkpoint;
pub mod chat;
pub mod language_model;
pub mod chat_template_flags;
pub mod flags;
pub mod command;

pub use attention_context::AttentionContext;
pub use block::FeedForwardLayer;
pub use block_stack::GradientCheckpointing;
pub use cache::Cache;
pub use chat::Chat;
pub use checkpoint::Checkpoint;
pub use completion::{Completion, FinishReason};
pub use generate_config::{CacheKind, GenerateConfig};
pub use generation::{generate, generate_samples};
pub use generation_state::GenerationState;
pub use kv_cache::KvCache;
pub use mixed_precision::TrainingModels;
pub use model::GptModern;
pub use prompt_too_long::PromptTooLong;
pub use rolling_cache::RollingCache;
pub use sampler::{Sampler, SamplingStrategy};

#[cfg(test)]
mod tests;
