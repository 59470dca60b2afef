//! Data sources: the arithmetic task, the built-in everyday instructions, a file, or a file on the
//! Hub. There is no fallback: data that cannot be read is an error.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use datasets::{Example, ExampleColumns, json_rows};
use model_io::{fetch_dataset_file, is_dataset_id};
use serde_json::Value;
use tensor_core::Rng;

use crate::arithmetic::{ProblemSet, Split};
use crate::arithmetic_questions::{
    ArithmeticQuestion, DemonstrationStyle, demonstrations, questions,
};

const EVERYDAY: &str = include_str!("../../../data/everyday.jsonl");

/// Data source, as named by `--data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SftSource {
    /// Arithmetic task, generated; the default.
    Arithmetic,
    /// Built-in everyday instructions.
    Everyday,
    /// JSON or JSON Lines file.
    File(PathBuf),
}

/// Training and validation examples.
#[derive(Debug, Clone)]
pub struct SftDataset {
    /// Training examples.
    pub train: Vec<Example>,
    /// Validation examples.
    pub validation: Vec<Example>,
}

impl SftSource {
    /// Source called `name`; a file on the Hub, `owner/name:file.json`, is downloaded.
    ///
    /// # Errors
    /// When the file cannot be downloaded.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "arithmetic" => Ok(Self::Arithmetic),
            "everyday" => Ok(Self::Everyday),
            _ if is_dataset_id(name) => Ok(Self::File(fetch_dataset_file(name)?)),
            _ => Ok(Self::File(name.into())),
        }
    }

    /// All rows of a file or of the built-in instructions; for the arithmetic task, its test sums.
    ///
    /// # Errors
    /// When a row is invalid; the message names the file and the line.
    pub fn load_eval_examples(&self, columns: Option<&ExampleColumns>) -> Result<Vec<Example>> {
        match self {
            Self::Arithmetic => Ok(test_examples(ProblemSet::Sums)),
            Self::Everyday => {
                let columns = ExampleColumns::parse("instruction=instruction,output=output")?;
                EVERYDAY
                    .lines()
                    .map(|line| columns.parse_row(&serde_json::from_str(line)?))
                    .collect()
            }
            Self::File(path) => read_file(path, columns),
        }
    }

    /// Training and validation examples. A file is split at random by `seed`, with the share
    /// `validation` in the validation split. The arithmetic task has `n` demonstrations in the
    /// given style, and its own validation problems.
    ///
    /// # Errors
    /// Those of [`SftSource::load_eval_examples`], or when there are too few rows for both splits.
    pub fn load_dataset(
        &self,
        columns: Option<&ExampleColumns>,
        (n, style): (usize, DemonstrationStyle),
        validation: f64,
        seed: u64,
    ) -> Result<SftDataset> {
        if *self == Self::Arithmetic {
            let validation = questions(ProblemSet::Sums, Split::Validation);
            return Ok(SftDataset {
                train: demonstrations(n, style, seed),
                validation: validation.into_iter().map(ArithmeticQuestion::to_example).collect(),
            });
        }
        let mut all = self.load_eval_examples(columns)?;
        Rng::new(seed).shuffle(&mut all);
        let n_validation = ((all.len() as f64 * validation).round() as usize).max(1);
        ensure!(
            all.len() > n_validation,
            "{} rows are too few for a training and a validation split",
            all.len()
        );
        let validation = all.split_off(all.len() - n_validation);
        Ok(SftDataset { train: all, validation })
    }
}

/// Test examples of a set, which no part trains on.
pub fn test_examples(set: ProblemSet) -> Vec<Example> {
    questions(set, Split::Test).into_iter().map(ArithmeticQuestion::to_example).collect()
}

fn read_file(path: &Path, columns: Option<&ExampleColumns>) -> Result<Vec<Example>> {
    let Some(columns) = columns else {
        let first = json_rows::read(path)?.remove(0);
        let columns = json_rows::with_row_context(path, &first, ExampleColumns::detect)?;
        return read_file(path, Some(&columns));
    };
    json_rows::read_parsed(path, |row: &Value| columns.parse_row(row))
}
