//! Files of the arithmetic task for other programs: `data/math_tasks_{train,eval}.jsonl`.

use std::path::Path;

use anyhow::{Context, Result};
use datasets::Example;
use serde_json::json;
use sft::arithmetic::{ProblemSet, Split};
use sft::arithmetic_questions::{ArithmeticQuestion, questions};
use tensor_core::atomic_file;

/// Rows of the training file and of the test file.
const ROWS_PER_FILE: [usize; 2] = [800, 200];

/// Text of the training file and of the test file: `{"prompt", "answer"}` rows; no problem is in
/// both.
pub fn math_tasks_jsonl() -> [String; 2] {
    let rows = |split, n| {
        let examples = questions(ProblemSet::Sums, split)
            .into_iter()
            .take(n)
            .map(ArithmeticQuestion::to_example);
        examples
            .map(|Example { prompt, completion }| {
                format!("{}\n", json!({ "prompt": prompt[0].content, "answer": completion }))
            })
            .collect()
    };
    [rows(Split::Train, ROWS_PER_FILE[0]), rows(Split::Test, ROWS_PER_FILE[1])]
}

/// Writes both files into `folder`.
///
/// # Errors
/// When they cannot be written.
pub fn write_math_tasks(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    for (name, rows) in
        ["math_tasks_train.jsonl", "math_tasks_eval.jsonl"].iter().zip(math_tasks_jsonl())
    {
        atomic_file::write(&folder.join(name), rows.as_bytes())?;
    }
    Ok(())
}
