//! Part 3: the modern architecture.

pub mod tokenizer;
pub mod text_stream;
pub mod gguf_tokenizer;

pub use gguf_tokenizer::GgufTokenizer;
pub use text_stream::TextStream;
pub use tokenizer::{Markers, Special, Spelled, Tokenizer};
