//! Unit tests of this crate, file by file.

mod config_json;
mod row_order;
mod gguf;
mod writer;
mod gguf_damage;
mod llama2c;
mod llama2c_tokenizer;
mod text_stream;

/// Error message of a result that must be an error.
fn error<T>(result: anyhow::Result<T>) -> String {
    format!("{:#}", result.err().expect("an error"))
}
