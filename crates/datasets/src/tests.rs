//! Unit tests of this crate, file by file.

mod readme;
mod documents;
mod text_files;
mod data_files;
mod parquet_rows;
mod example_columns;
mod dialogue;
mod preference_columns;
mod question_columns;
mod code_rows;
mod split;
mod mixture;
mod held_out;
mod held_out_preferences;
mod numbers;
mod answers;
mod arithmetic;
mod built_in_preferences;
mod countdown;
mod countdown_search;
