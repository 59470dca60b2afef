#![doc = include_str!("../README.md")]

// Letters used in shapes: B batch, T time (tokens), S tokens that are seen, C channels (n_embd), H query heads, KV key
// heads, D channels of a head, F width of the feed-forward layer, V vocabulary.

pub mod config;
mod fresh_weights;
mod parameter_count;
pub mod rms_norm; // 3.1
pub mod rope; // 3.2
pub mod swiglu; // 3.3
pub mod kv_cache; // 3.4
pub mod sliding_window; // 3.5
pub mod rolling_cache; // 3.6
pub mod cache;
pub mod attention;
pub mod token_layer;
pub mod block;
pub mod model;
pub mod sampler;
pub mod text;
pub mod generation;
pub mod recompute;
pub mod score;
pub mod config_json;
pub mod generation_config;
pub mod model_folder;
mod weight_files;
pub mod row_order;
pub mod gguf;
pub mod llama2c;
pub mod llama2c_tokenizer;
pub mod tokenizer;
pub mod tokenizer_config;
mod tokenizer_check;
pub mod text_stream;
pub mod gguf_tokenizer;
pub mod chat_template;
pub mod conversation;
pub mod hub;
mod hub_id;
mod hub_files;
mod hub_download;
pub mod purpose;
pub mod gguf_model;
pub mod checkpoint;
pub mod chat;
pub mod flags;
mod jinja;
mod strftime;
mod language_model;

pub use cache::{Cache, Pass};
pub use chat::Chat;
pub use chat_template::{ChatTemplate, Message, Prompt};
pub use checkpoint::Checkpoint;
pub use config::{ModelConfig, Window};
pub use conversation::Conversation;
pub use generation::{Continuation, End, GenerateConfig, Memory, generate, generate_samples};
pub use gguf_tokenizer::GgufTokenizer;
pub use hub::{Access, Hub, fetch, fetch_data};
pub use hub_files::Files;
pub use hub_id::{is_data_id, is_hub_id};
pub use kv_cache::KvCache;
pub use model::{Activations, GptModern};
pub use purpose::Purpose;
pub use rolling_cache::RollingCache;
pub use sampler::{Choice, Sampler};
pub use text::Text;
pub use text_stream::TextStream;
pub use token_layer::TokenLayer;
pub use tokenizer::{Markers, Special, Spelled, Tokenizer};
pub use tokenizer_config::SpecialTokens;

#[cfg(test)]
mod tests;
