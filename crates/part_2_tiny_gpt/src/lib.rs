#![doc = include_str!("../README.md")]

// Letters used in shapes: B batch, T time (tokens), C channels (n_embd), H heads, V vocabulary.

pub mod tokenizer; // 2.1
pub mod batches; // 2.2
pub mod loss; // 2.3
pub mod model;
pub mod model_folder;
pub mod language_model;
pub mod training; // 2.4
pub mod train_log;
pub mod flags;
pub mod train_command;
pub mod sampling; // 2.5
pub mod evaluation; // 2.6

pub use batches::{Batch, ByteCorpus};
pub use evaluation::{LmEvalMetrics, evaluate};
pub use language_model::LanguageModel;
pub use model::{Gpt, GptConfig};
pub use sampling::{Sampling, generate};
pub use tokenizer::{ByteTokenizer, StreamDecoder};
pub use train_command::TrainCommand;
pub use train_log::TrainLog;
pub use training::{LrDecay, TrainConfig, train};

#[cfg(test)]
mod tests;
