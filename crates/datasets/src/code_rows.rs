//! Rows of programming problems: a prompt, and unit tests in Python of the code that answers it.
//!
//! | data set | prompt | tests | before each test |
//! | --- | --- | --- | --- |
//! | your own | `prompt`, `question` or `instruction` | `tests`, a text or list of texts | |
//! | MBPP | `prompt` or `text` | `test_list` | `test_imports` or `test_setup_code` |
//! | HumanEval | `prompt` | `test`, which checks `entry_point` | |
//!
//! The first test of MBPP names the function, so the prompt shows it. The others stay hidden: the
//! answers in a prompt are not enough to pass.

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use crate::columns::{self, has_value};
use crate::example::Example;

/// Columns of the prompt.
const PROMPTS: [&str; 4] = ["prompt", "question", "instruction", "text"];
/// Columns of a solution, which is kept as the completion.
const SOLUTIONS: [&str; 4] = ["completion", "solution", "code", "canonical_solution"];

/// Limit of the factor by which a row grows because its setup stands before each of its tests; of
/// real rows it is about the number of the tests.
const MAX_GROWTH: usize = 100;

/// Example of a row, its prompt with the tests.
///
/// # Errors
/// When the prompt or the tests are missing, empty or of another type.
pub fn parse_code_row(row: &Value) -> Result<Example> {
    let is_there = |name: &&str| has_value(row, name);
    let Some(prompt) = PROMPTS.into_iter().find(is_there) else {
        bail!("there is no column `prompt`, `question`, `instruction` or `text`")
    };
    let mut example = Example::of_prompt(columns::prompt(row, prompt)?);
    if let Some(solution) = SOLUTIONS.into_iter().find(is_there) {
        example.completion = columns::text(row, solution)?.into();
    }
    if has_value(row, "tests") {
        example.tests = texts(row, "tests")?;
    } else if has_value(row, "test_list") {
        let setup = ["test_imports", "test_setup_code"].into_iter().find(is_there);
        let setup = setup.map(|name| texts(row, name)).transpose()?.unwrap_or_default();
        let tests = texts(row, "test_list")?;
        if let (Some(message), Some(first)) = (example.prompt.last_mut(), tests.first()) {
            message.content +=
                &format!("\nYour function has to pass tests such as this one:\n{first}");
        }
        let n_bytes = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
        let (of_setup, of_tests) = (n_bytes(&setup), n_bytes(&tests));
        ensure!(
            of_setup.saturating_mul(tests.len()) <= MAX_GROWTH * (of_setup + of_tests),
            "{} tests are too many for a setup of {of_setup} bytes before each",
            tests.len()
        );
        let with_setup = |test: String| [setup.clone(), vec![test]].concat().join("\n");
        example.tests = tests.into_iter().map(with_setup).collect();
    } else if has_value(row, "test") {
        let (test, function) = (columns::text(row, "test")?, columns::text(row, "entry_point")?);
        example.tests = vec![format!("{test}\ncheck({function})")];
    }
    ensure!(
        example.tests.iter().any(|test| !columns::is_blank(test)),
        "there are no tests in a column `tests`, `test_list` (MBPP) or `test` (HumanEval)"
    );
    Ok(example)
}

/// Texts of a column that holds one or a list of them.
fn texts(row: &Value, name: &str) -> Result<Vec<String>> {
    match &row[name] {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(texts) if texts.iter().all(Value::is_string) => {
            Ok(texts.iter().filter_map(|text| text.as_str().map(String::from)).collect())
        }
        other => bail!("`{name}` must be a text or a list of texts, but is {other}"),
    }
}
