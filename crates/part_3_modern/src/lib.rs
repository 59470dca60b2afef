//! Part 3: the modern architecture.

pub mod tokenizer;
pub mod text_stream;
pub mod gguf_tokenizer;
pub mod chat_template;
mod jinja;
mod strftime;

pub use chat_template::{ChatTemplate, Message, Prompt};
pub use gguf_tokenizer::GgufTokenizer;
pub use text_stream::TextStream;
pub use tokenizer::{Markers, Special, Spelled, Tokenizer};
