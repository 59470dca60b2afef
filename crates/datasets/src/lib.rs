#![doc = include_str!("../README.md")]

#[macro_use]
extern crate tensor_core; // its `println!` and the like, which do not panic

pub mod builtin_text; // text
pub mod documents;
pub mod corpus;
pub mod token_file; // tokens
pub mod token_writer;
pub mod dataset;
pub mod data_files; // rows
pub mod json_rows;
pub(crate) mod parquet_rows;
pub mod columns;
pub mod dialogue;
pub mod prompt_row; // layouts
pub mod example;
pub mod code_rows;
pub mod example_columns;
mod example_layouts;
pub mod preference;
pub mod preference_columns;
pub mod split;
pub mod mixture;
pub mod split_rule;
pub mod held_out;
pub mod numbers; // answers
pub mod answers;
pub mod arithmetic; // built-in data
pub mod arithmetic_questions;
pub mod arithmetic_preferences;
pub mod politeness;
pub mod countdown;
pub mod countdown_search;

pub use corpus::TextCorpus;
pub use data_files::DatasetFlags;
pub use dataset::Dataset;
pub use example::{AssistantTurns, Example, parse_question_row};
pub use example_columns::{ExampleColumns, read_examples};
pub use held_out::HeldOutRows;
pub use mixture::{Mixture, StoppingStrategy};
pub use preference::{FilteredPreferences, LabeledCompletion, Preference};
pub use preference_columns::PreferenceColumns;
pub use prompt_row::{PromptRow, RowKind};
pub use split::{Split, Splits};
pub use split_rule::{SplitRule, SplitSpec};
pub use token_file::TokenFile;
pub use token_writer::TokenWriter;

#[cfg(test)]
mod tests;
