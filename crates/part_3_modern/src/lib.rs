//! Part 3: the modern architecture.

pub mod gguf;
pub mod llama2c;
pub mod llama2c_tokenizer;
pub mod row_order;

#[cfg(test)]
mod tests;
