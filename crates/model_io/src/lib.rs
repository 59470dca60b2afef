#![doc = include_str!("../README.md")]

pub mod config;
mod parameter_count;
mod weight_init;
pub mod config_json;
pub mod generation_config;
pub mod model_folder;
pub mod weight_files;
pub mod row_order;
pub mod gguf;
pub mod gguf_model;
pub mod gguf_tokenizer;
pub mod llama2c;
pub mod llama2c_tokenizer;
pub mod tokenizer;
pub mod tokenizer_config;
mod tokenizer_check;
pub mod text_stream;
pub mod chat_template;
mod jinja;
mod strftime;
pub mod tokenized_chat;
pub mod hub;
mod hub_id;
mod hub_files;
mod hub_download;
pub mod load_mode;
pub mod model_files;
pub mod lora_config;
pub mod peft_folder;
pub mod testing;

pub use chat_template::{AddGenerationPrompt, ChatMessage, ChatTemplate};
pub use config::{ModelConfig, SlidingWindow};
pub use generation_config::GenerationConfig;
pub use gguf_tokenizer::GgufTokenizer;
pub use hub::{Hub, HubAccess, fetch_dataset_file, fetch_from_hub};
pub use hub_files::HubFiles;
pub use hub_id::{is_dataset_id, is_hub_id};
pub use load_mode::LoadMode;
pub use lora_config::{LoraConfig, TargetModules};
pub use model_files::ModelFiles;
pub use model_folder::{ModelWeights, SpecialTokenIds};
pub use text_stream::TextStream;
pub use tokenized_chat::TokenizedChat;
pub use tokenizer::{AddSpecialTokens, ParseSpecial, SkipSpecialTokens, Tokenizer};
pub use tokenizer_config::TokenizerSpecialTokens;

#[cfg(test)]
mod tests;
