//! Unit tests of this crate, file by file.

mod documents;
mod text_files;
