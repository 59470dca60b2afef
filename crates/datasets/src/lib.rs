#![doc = include_str!("../README.md")]

pub mod builtin_text;
pub mod text_files;
pub mod documents;
pub mod corpus;
pub mod token_file;
pub mod token_writer;
pub mod dataset;
pub mod json_rows;
pub mod example;
pub mod example_columns;
pub mod preference;
pub mod preference_columns;
pub mod dialogue;

pub use corpus::TextCorpus;
pub use dataset::Dataset;
pub use example::Example;
pub use example_columns::ExampleColumns;
pub use preference::{FilteredPreferences, Preference};
pub use preference_columns::PreferenceColumns;
pub use token_file::TokenFile;
pub use token_writer::TokenWriter;

#[cfg(test)]
mod tests;
