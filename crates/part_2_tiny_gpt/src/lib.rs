#![doc = include_str!("../README.md")]

// Letters used in shapes: B batch, T time (tokens), C channels (n_embd), H heads, V vocabulary.

#[macro_use]
extern crate tensor_core; // its `println!` and the like, which do not panic

pub mod tokenizer; // 2.1
pub mod batches; // 2.2
pub mod softmax; // 2.3
pub mod cross_entropy;
pub mod bits_per_byte;
pub mod layer_norm;
pub mod model;
pub mod model_folder;
pub mod adamw; // 2.4
pub mod gradient_clipping;
pub mod language_model;
pub mod training;
pub mod sampling; // 2.5
pub mod evaluation; // 2.6
pub mod flags;
pub mod command;

pub use batches::{Batch, ByteCorpus};
pub use evaluation::{LmEvalMetrics, evaluate};
pub use language_model::LanguageModel;
pub use model::{Gpt, GptConfig};
pub use sampling::{Sampling, generate};
pub use tokenizer::{ByteTokenizer, StreamDecoder};
pub use training::{LrDecay, SampleConfig, TrainConfig, train};

#[cfg(test)]
mod tests;
