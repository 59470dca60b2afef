//! Where examples come from: the arithmetic task, the built-in everyday instructions, a file, or a file on the Hub. What is named
//! is what is used: nothing is put in the place of data that cannot be had.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use modern::{fetch_data, is_data_id};
use serde_json::Value;
use tensor_core::Rng;

use crate::arithmetic::{Set, Split};
use crate::questions::{Demos, Question, demonstrations, questions};
use crate::{Columns, Example, rows};

const EVERYDAY: &str = include_str!("../../../data/everyday.jsonl");

/// What a program's `--data` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The default task, generated.
    Arithmetic,
    /// The built-in instructions.
    Everyday,
    /// A JSON or JSON Lines file.
    File(PathBuf),
}

/// Examples to learn from, and those to decide by.
#[derive(Debug, Clone)]
pub struct Examples {
    /// To learn from.
    pub train: Vec<Example>,
    /// To decide by.
    pub validation: Vec<Example>,
}

impl Source {
    /// The one called `name`; a file on the Hub, `owner/name:file.json`, is downloaded.
    ///
    /// # Errors
    /// When it cannot be downloaded.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "arithmetic" => Ok(Self::Arithmetic),
            "everyday" => Ok(Self::Everyday),
            _ if is_data_id(name) => Ok(Self::File(fetch_data(name)?)),
            _ => Ok(Self::File(name.into())),
        }
    }

    /// All rows of a file or of the built-in instructions; of the arithmetic task, the held-out sums.
    ///
    /// # Errors
    /// When a row cannot be used: the file and the line are named.
    pub fn all(&self, columns: Option<&Columns>) -> Result<Vec<Example>> {
        match self {
            Self::Arithmetic => Ok(held_out(Set::Sums)),
            Self::Everyday => {
                let columns = Columns::parse("instruction=instruction,output=output")?;
                EVERYDAY.lines().map(|line| columns.example(&serde_json::from_str(line)?)).collect()
            }
            Self::File(path) => read(path, columns),
        }
    }

    /// Examples to learn from and to decide by. Of a file, the share `validation`, drawn by `seed`, is to decide by; of the
    /// arithmetic task, its validation problems, and `n` demonstrations are drawn.
    ///
    /// # Errors
    /// As [`Source::all`], or when there are too few rows for both.
    pub fn examples(
        &self,
        columns: Option<&Columns>,
        (n, demos): (usize, Demos),
        validation: f64,
        seed: u64,
    ) -> Result<Examples> {
        if *self == Self::Arithmetic {
            let validation = questions(Set::Sums, Split::Validation);
            return Ok(Examples {
                train: demonstrations(n, demos, seed),
                validation: validation.into_iter().map(Question::example).collect(),
            });
        }
        let mut all = self.all(columns)?;
        Rng::new(seed).shuffle(&mut all);
        let aside = ((all.len() as f64 * validation).round() as usize).max(1);
        ensure!(
            all.len() > aside,
            "{} rows are too few to learn from and to validate on",
            all.len()
        );
        let validation = all.split_off(all.len() - aside);
        Ok(Examples { train: all, validation })
    }
}

/// The questions of a set that no part learns from, with their answers.
pub fn held_out(set: Set) -> Vec<Example> {
    questions(set, Split::HeldOut).into_iter().map(Question::example).collect()
}

fn read(path: &Path, columns: Option<&Columns>) -> Result<Vec<Example>> {
    let Some(columns) = columns else {
        let first = rows::read(path)?.remove(0);
        let columns = rows::described(path, &first, Columns::of)?;
        return read(path, Some(&columns));
    };
    rows::read_as(path, |row: &Value| columns.example(row))
}
