#![doc = include_str!("../README.md")]

// Letters in shapes: B batch, T time (tokens), N target tokens (those in the loss), C channels,
// V vocabulary, R LoRA rank.

#[macro_use]
extern crate tensor_core; // its `println!` and the like, which do not panic

pub mod template; // 6.1
pub mod chat_tokenizer;
pub mod reply; // 6.2
pub mod tokenized_example;
pub mod tokenized_dataset;
pub mod batch;
pub mod step; // 6.3
pub mod training;
pub mod curriculum;
pub mod metrics; // 6.4
pub mod evaluation;
pub mod lora; // 6.5
pub mod bpe_tokenizer; // base model
pub mod base_model;
pub mod source; // data
pub mod merged_model;
pub mod model_saver;
pub mod flags;
pub mod run_split;
pub mod model_flags;
pub mod finetuned;
pub mod initial_model;
pub mod run_end;
pub mod command;

pub use batch::SftBatch;
pub use chat_tokenizer::{ChatTokenizer, one_line};
pub use curriculum::{BatchSampler, Curriculum};
pub use evaluation::{SftEvalMetrics, SftValidator, evaluate};
pub use finetuned::FinetunedModel;
pub use initial_model::InitialModel;
pub use model_saver::ModelSaver;
pub use reply::{ReplyForm, ReplyTokens};
pub use run_end::save_run_end;
pub use run_split::RunSplit;
pub use source::{MappedSource, SftSource};
pub use step::{BatchLayout, TrainConfig};
pub use template::ChatFormat;
pub use tokenized_dataset::tokenize;
pub use tokenized_example::TokenizedExample;
pub use training::train;

#[cfg(test)]
mod tests;
