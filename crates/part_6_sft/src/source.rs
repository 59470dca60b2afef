//! Where examples come from: the arithmetic task, the built-in everyday instructions, a file, or a file on the Hub. What is named
//! is what is used: nothing is put in the place of data that cannot be had.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use modern::{fetch_dataset_file, is_dataset_id};
use serde_json::Value;
use tensor_core::Rng;

use crate::arithmetic::{ProblemSet, Split};
use crate::arithmetic_questions::{
    ArithmeticQuestion, DemonstrationStyle, demonstrations, questions,
};
use crate::{Example, ExampleColumns, json_rows};

const EVERYDAY: &str = include_str!("../../../data/everyday.jsonl");

/// What a program's `--data` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SftSource {
    /// The default task, generated.
    Arithmetic,
    /// The built-in instructions.
    Everyday,
    /// A JSON or JSON Lines file.
    File(PathBuf),
}

/// Examples to learn from, and those to decide by.
#[derive(Debug, Clone)]
pub struct SftDataset {
    /// To learn from.
    pub train: Vec<Example>,
    /// To decide by.
    pub validation: Vec<Example>,
}

impl SftSource {
    /// The one called `name`; a file on the Hub, `owner/name:file.json`, is downloaded.
    ///
    /// # Errors
    /// When it cannot be downloaded.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "arithmetic" => Ok(Self::Arithmetic),
            "everyday" => Ok(Self::Everyday),
            _ if is_dataset_id(name) => Ok(Self::File(fetch_dataset_file(name)?)),
            _ => Ok(Self::File(name.into())),
        }
    }

    /// All rows of a file or of the built-in instructions; of the arithmetic task, the held-out sums.
    ///
    /// # Errors
    /// When a row cannot be used: the file and the line are named.
    pub fn load_all(&self, columns: Option<&ExampleColumns>) -> Result<Vec<Example>> {
        match self {
            Self::Arithmetic => Ok(test_examples(ProblemSet::Sums)),
            Self::Everyday => {
                let columns = ExampleColumns::parse("instruction=instruction,output=output")?;
                EVERYDAY
                    .lines()
                    .map(|line| columns.parse_row(&serde_json::from_str(line)?))
                    .collect()
            }
            Self::File(path) => read(path, columns),
        }
    }

    /// Examples to learn from and to decide by. Of a file, the share `validation`, drawn by `seed`, is to decide by; of the
    /// arithmetic task, its validation problems, and `n` demonstrations are drawn.
    ///
    /// # Errors
    /// As [`SftSource::load_all`], or when there are too few rows for both.
    pub fn load_dataset(
        &self,
        columns: Option<&ExampleColumns>,
        (n, demos): (usize, DemonstrationStyle),
        validation: f64,
        seed: u64,
    ) -> Result<SftDataset> {
        if *self == Self::Arithmetic {
            let validation = questions(ProblemSet::Sums, Split::Validation);
            return Ok(SftDataset {
                train: demonstrations(n, demos, seed),
                validation: validation.into_iter().map(ArithmeticQuestion::to_example).collect(),
            });
        }
        let mut all = self.load_all(columns)?;
        Rng::new(seed).shuffle(&mut all);
        let aside = ((all.len() as f64 * validation).round() as usize).max(1);
        ensure!(
            all.len() > aside,
            "{} rows are too few to learn from and to validate on",
            all.len()
        );
        let validation = all.split_off(all.len() - aside);
        Ok(SftDataset { train: all, validation })
    }
}

/// The questions of a set that no part learns from, with their answers.
pub fn test_examples(set: ProblemSet) -> Vec<Example> {
    questions(set, Split::Test).into_iter().map(ArithmeticQuestion::to_example).collect()
}

fn read(path: &Path, columns: Option<&ExampleColumns>) -> Result<Vec<Example>> {
    let Some(columns) = columns else {
        let first = json_rows::read(path)?.remove(0);
        let columns = json_rows::with_row_context(path, &first, ExampleColumns::detect)?;
        return read(path, Some(&columns));
    };
    json_rows::read_parsed(path, |row: &Value| columns.parse_row(row))
}
