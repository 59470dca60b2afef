//! Columns of questions whose answer can be checked: `question` (or `prompt`) and `answer`, a text
//! or a number.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{Example, columns};

/// Example of a row: the question as its prompt, the answer as its completion.
///
/// # Errors
/// When a column is missing, empty, or of another type.
pub fn parse_question_row(row: &Value) -> Result<Example> {
    let question = ["question", "prompt"].into_iter().find(|name| columns::has_value(row, name));
    let question = question.context("there is no column `question` or `prompt`")?;
    let question = columns::non_empty_text(row, question)?;
    Ok(match row.get("answer") {
        Some(Value::Number(number)) => Example::new(question, number.to_string()),
        _ => Example::new(question, columns::non_empty_text(row, "answer")?),
    })
}
