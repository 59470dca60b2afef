//! The claims of part 3, one module per file.

mod gguf;
mod gguf_damage;
mod llama2c;
mod llama2c_tokenizer;
mod row_order;
mod writer;

use std::path::PathBuf;

/// A file of `$COURSE_DATA`, which tests do without if it is not there.
fn course_data(file: &str) -> Option<PathBuf> {
    let path = std::env::var_os("COURSE_DATA").map(|folder| PathBuf::from(folder).join(file));
    let path = path.filter(|path| path.exists());
    if path.is_none() {
        println!("skipped: no $COURSE_DATA/{file}");
    }
    path
}

/// The message of a result that must be an error.
fn error<T>(result: anyhow::Result<T>) -> String {
    format!("{:#}", result.err().expect("an error"))
}
