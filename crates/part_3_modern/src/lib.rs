//! Part 3: the modern architecture.

pub mod tokenizer;
pub mod text_stream;
pub mod gguf_tokenizer;
pub mod chat_template;
mod jinja;
mod strftime;
pub mod hub;
mod hub_id;
mod hub_files;
mod hub_download;

pub use chat_template::{ChatTemplate, Message, Prompt};
pub use gguf_tokenizer::GgufTokenizer;
pub use hub::{Access, Hub, fetch};
pub use hub_files::Files;
pub use hub_id::is_hub_id;
pub use text_stream::TextStream;
pub use tokenizer::{Markers, Special, Spelled, Tokenizer};
