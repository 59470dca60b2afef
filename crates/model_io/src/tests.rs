//! Unit tests of this crate, file by file.

mod config_json;
mod gemma;
mod rope_scaling;
mod generation_config;
mod gpt2_folder;
mod pytorch_bin;
mod weight_files;
mod peft_folder;
mod text_stream;
mod untrusted_call;
mod strftime;
mod row_order;
mod gguf;
mod writer;
mod gguf_damage;
mod gguf_config;
mod gguf_families;
mod llama2c;
mod llama2c_tokenizer;

/// Error message of a result that must be an error.
fn error<T>(result: anyhow::Result<T>) -> String {
    format!("{:#}", result.err().expect("an error"))
}
