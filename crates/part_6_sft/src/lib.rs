#![doc = include_str!("../README.md")]

// Letters used in shapes: B batch, T time (tokens), N tokens that are learned, C channels, V vocabulary, R rank of an adapter.

pub mod example;
pub mod template; // 6.1
pub mod speech;
pub mod tokens; // 6.2
pub mod mask_print;
pub mod batch;
pub mod curriculum; // 6.3
pub mod order;
pub mod metrics; // 6.4
pub mod evaluation;
pub mod arithmetic; // data
pub mod questions;
pub mod columns;
pub mod rows;
pub mod source;
pub mod word_tokenizer;
pub mod base;
pub mod lora;
pub mod peft_folder;
pub mod tuning; // the loop
pub mod keeper;
pub mod outputs;
pub mod run_log;
pub mod run_start;
pub mod exam;
pub mod training;
pub mod flags;
pub mod tuned;
pub mod command;

pub use batch::SftBatch;
pub use columns::ExampleColumns;
pub use curriculum::Curriculum;
pub use evaluation::{SftEvalMetrics, evaluate};
pub use exam::SftValidator;
pub use example::Example;
pub use keeper::ModelSaver;
pub use lora::{LoraConfig, TargetModules};
pub use order::BatchSampler;
pub use outputs::{RunDestination, RunOutputs};
pub use run_log::SftLog;
pub use run_start::RunSetup;
pub use source::SftSource;
pub use speech::{ChatTokenizer, one_line};
pub use template::ChatFormat;
pub use tokens::{TokenizedExample, tokenize};
pub use training::{BatchLayout, TrainConfig, train};
pub use tuned::FinetunedModel;
pub use tuning::TrainState;

#[cfg(test)]
mod tests;
