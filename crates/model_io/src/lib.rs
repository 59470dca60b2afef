#![doc = include_str!("../README.md")]

#[macro_use]
extern crate tensor_core; // its `println!` and the like, which do not panic

// The architecture
mod design_choices;
mod rope_scaling;
mod position_encoding;
mod attention_config;
pub mod config;
mod initialization;
mod parameter_count;

// What every format gives
mod model_weights;

// Model folders of Hugging Face
mod json_fields;
pub mod config_json;
mod tensor_names;
mod pytorch_bin;
mod weight_files;
mod generation_config;
pub mod model_folder;
pub mod gpt2_folder;
mod lora_config;
pub mod peft_folder;

// Text
mod tokenizer_check;
mod tokenizer;
mod text_stream;
mod untrusted_call;
mod tojson;
mod jinja_tests;
mod python_methods;
mod jinja_filters;
mod percent_format;
mod jinja;
mod chat_variables;
mod chat_message;
mod chat_template;
mod tokenized_chat;
mod added_tokens;
mod tokenizer_folder;

// Other formats
mod row_order;
pub mod gguf;
mod gguf_family;
mod gguf_family_metadata;
mod gguf_rope;
mod gguf_config;
mod gguf_tensor_names;
mod gguf_weights;
pub mod gguf_model;
pub mod gguf_tokenizer;
mod tokenizer_json;
pub mod llama2c;
pub mod llama2c_tokenizer;

// Opening all of them
mod hub;
mod model_files;

pub mod testing;

pub use chat_message::ChatMessage;
pub use chat_template::{AddGenerationPrompt, ChatTemplate};
pub use chat_variables::{ChatArguments, ChatDate, ChatVariables};
pub use config::{ModelConfig, SlidingWindow};
pub use generation_config::GenerationConfig;
pub use gguf_tokenizer::GgufTokenizer;
pub use hub::{
    Hub, HubAccess, fetch_dataset, fetch_dataset_file, fetch_from_hub, is_dataset_id, is_hub_id,
};
pub use lora_config::{LoraConfig, LoraVariant, RankScaling, TargetModules};
pub use model_files::{ModelFiles, ensure_model_saved, find_adapter, locate_adapter, locate_model};
pub use model_weights::{LoadMode, ModelWeights, SpecialTokenIds};
pub use tensor_names::TensorNames;
pub use text_stream::TextStream;
pub use tokenized_chat::{TokenizedChat, TokenizedReply};
pub use tokenizer::{
    AddSpecialTokens, ParseSpecial, SkipSpecialTokens, Tokenizer, TokenizerSpecialTokens,
};

#[cfg(test)]
mod tests;
