#![doc = include_str!("../README.md")]

// Letters used in shapes: B batch, T time (tokens), S tokens attended to (cached and new), C
// channels (n_embd), H query heads, KV key-value heads, D channels of a head, F width of the
// feed-forward layer, V vocabulary.

pub mod config;
mod weight_init;
mod parameter_count;
pub mod rms_norm; // 3.1
pub mod rope; // 3.2
pub mod swiglu; // 3.3
pub mod kv_cache; // 3.4
pub mod sliding_window; // 3.5
pub mod rolling_cache; // 3.6
pub mod cache;
pub mod attention;
pub mod feed_forward_layer;
pub mod block;
pub mod model;
pub mod sampler;
pub mod generation_state;
pub mod generation;
pub mod uncached;
pub mod perplexity;
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
pub mod tokenized_chat;
pub mod hub;
mod hub_id;
mod hub_files;
mod hub_download;
pub mod load_mode;
pub mod gguf_model;
pub mod checkpoint;
pub mod chat;
pub mod flags;
mod jinja;
mod strftime;
mod language_model;

pub use cache::{AttentionContext, Cache};
pub use chat::Chat;
pub use chat_template::{AddGenerationPrompt, ChatMessage, ChatTemplate};
pub use checkpoint::Checkpoint;
pub use config::{ModelConfig, SlidingWindow};
pub use feed_forward_layer::FeedForwardLayer;
pub use generation::{
    CacheKind, Completion, FinishReason, GenerateConfig, generate, generate_samples,
};
pub use generation_state::GenerationState;
pub use gguf_tokenizer::GgufTokenizer;
pub use hub::{Hub, HubAccess, fetch_dataset_file, fetch_from_hub};
pub use hub_files::HubFiles;
pub use hub_id::{is_dataset_id, is_hub_id};
pub use kv_cache::KvCache;
pub use load_mode::LoadMode;
pub use model::{GptModern, GradientCheckpointing};
pub use rolling_cache::RollingCache;
pub use sampler::{Sampler, SamplingStrategy};
pub use text_stream::TextStream;
pub use tokenized_chat::TokenizedChat;
pub use tokenizer::{AddSpecialTokens, ParseSpecial, SkipSpecialTokens, Tokenizer};
pub use tokenizer_config::TokenizerSpecialTokens;

#[cfg(test)]
mod tests;
