//! Data sources: the arithmetic task, the built-in everyday instructions, a file, or a file on the
//! Hub. There is no fallback: data that cannot be read is an error.

use std::path::PathBuf;

use anyhow::Result;
use datasets::arithmetic::ProblemSet;
use datasets::arithmetic_questions::{DemonstrationStyle, demonstrations, examples, test_examples};
use datasets::{Example, ExampleColumns, Mixture, Split, SplitRule, Splits, read_examples};

const EVERYDAY: &str = include_str!("../../../data/everyday.jsonl");

/// Data source, as named by `--data`.
#[derive(Debug, Clone, PartialEq)]
pub enum SftSource {
    /// Arithmetic task, generated; the default.
    Arithmetic,
    /// Built-in everyday instructions.
    Everyday,
    /// Files of rows.
    Files(Vec<PathBuf>),
    /// Rows of several sources.
    Mixture(Mixture<SftSource>),
}

/// Data source with the columns of its rows.
#[derive(Debug, Clone, PartialEq)]
pub struct MappedSource {
    /// Data source.
    pub source: SftSource,
    /// Column map; `None` to detect the columns.
    pub columns: Option<ExampleColumns>,
}

impl MappedSource {
    /// The source with its own column map, or with `default` where it has none.
    pub fn with_default_columns(self, default: ExampleColumns) -> Self {
        Self { columns: self.columns.or(Some(default)), ..self }
    }
}

impl SftSource {
    /// Built-in source called `name`.
    pub fn built_in(name: &str) -> Option<Self> {
        match name {
            "arithmetic" => Some(Self::Arithmetic),
            "everyday" => Some(Self::Everyday),
            _ => None,
        }
    }

    /// All rows of files, one source after the other, or of the built-in instructions; for the
    /// arithmetic task, its test sums.
    ///
    /// # Errors
    /// When a row is invalid; the message names the file and the line.
    pub fn load_eval_examples(&self, columns: Option<&ExampleColumns>) -> Result<Vec<Example>> {
        match self {
            Self::Arithmetic => Ok(test_examples(ProblemSet::Sums)),
            Self::Everyday => {
                let columns = ExampleColumns::parse("instruction=instruction,output=output")?;
                let rows = EVERYDAY.lines();
                rows.map(|row| columns.parse_row(&serde_json::from_str(row)?)).collect()
            }
            Self::Files(paths) => read_examples(paths, columns),
            Self::Mixture(mixture) => {
                let sources = mixture.sources.iter();
                let rows = sources.map(|(source, _)| source.load_eval_examples(columns));
                Ok(rows.collect::<Result<Vec<_>>>()?.concat())
            }
        }
    }

    /// All rows, as [`SftSource::load_eval_examples`]; those of a mixture as `seed` draws them.
    ///
    /// # Errors
    /// Those of [`SftSource::load_eval_examples`].
    pub fn load_rows(&self, columns: Option<&ExampleColumns>, seed: u64) -> Result<Vec<Example>> {
        match self {
            Self::Mixture(mixture) => {
                let rows = mixture.map(|source| source.load_eval_examples(columns))?;
                Ok(rows.interleave(seed))
            }
            _ => self.load_eval_examples(columns),
        }
    }

    /// Training and validation examples. A mixture is drawn by `seed`, and so is the split, which
    /// keeps rows of one prompt together; `validation` is the share of the validation split. The
    /// arithmetic task has `n` demonstrations in the given style, and its own validation and test
    /// problems.
    ///
    /// # Errors
    /// Those of [`SftSource::load_eval_examples`], or when there are too few rows for both splits.
    pub fn load_dataset(
        &self,
        columns: Option<&ExampleColumns>,
        n: usize,
        style: DemonstrationStyle,
        validation: f64,
        seed: u64,
    ) -> Result<Splits<Example>> {
        let rows = self.load_rows(columns, seed)?;
        match self {
            Self::Arithmetic => Ok(Splits {
                train: demonstrations(n, style, seed),
                validation: examples(ProblemSet::Sums, Split::Validation),
                test: rows,
            }),
            Self::Everyday | Self::Files(_) | Self::Mixture(_) => {
                SplitRule::of_shares(rows.len(), validation, 0., seed).hold_out(rows)
            }
        }
    }
}
