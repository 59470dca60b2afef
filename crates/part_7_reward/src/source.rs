//! 7.1 Where preferences come from: the built-in ones, a file, or a file on the Hub. What is named is what is used.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use modern::{fetch_data, is_data_id};
use sft::arithmetic::Split;
use sft::rows;
use tensor_core::Rng;

use crate::preference::{Dropped, Preference, Preferences};
use crate::{Columns, arithmetic, manners};

/// What a program's `--data` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Right answers against near misses, generated.
    Arithmetic,
    /// Polite answers against rude ones, generated.
    Manners,
    /// A JSON or JSON Lines file.
    File(PathBuf),
}

/// Preferences to learn from, and those to decide by.
#[derive(Debug, Clone, Default)]
pub struct Examples {
    /// To learn from.
    pub train: Vec<Preference>,
    /// To decide by.
    pub validation: Vec<Preference>,
    /// What could be neither.
    pub dropped: Dropped,
}

impl Source {
    /// The one called `name`; a file on the Hub, `owner/name:file.jsonl`, is downloaded.
    ///
    /// # Errors
    /// When it cannot be downloaded.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "arithmetic" => Ok(Self::Arithmetic),
            "manners" => Ok(Self::Manners),
            _ if is_data_id(name) => Ok(Self::File(fetch_data(name)?)),
            _ => Ok(Self::File(name.into())),
        }
    }

    /// All preferences of a file; of those that are generated, the held-out ones.
    ///
    /// # Errors
    /// When a row cannot be used (the file and the line are named), or none can.
    pub fn all(&self, columns: &Columns) -> Result<Preferences> {
        let usable = match self {
            Self::Arithmetic => arithmetic::set_apart(Split::HeldOut),
            Self::Manners => manners::held_out(),
            Self::File(path) => {
                let mut all = Preferences::default();
                for row in &rows::read(path)? {
                    rows::described(path, row, |row| columns.read(row, &mut all))?;
                }
                let Dropped { identical, empty, unshared } = all.dropped;
                ensure!(
                    !all.usable.is_empty(),
                    "{} has no pair to learn from: {identical} are of identical responses, {empty} have an empty one, {unshared} \
                     answer different conversations",
                    path.display()
                );
                return Ok(all);
            }
        };
        Ok(Preferences { usable, dropped: Dropped::default() })
    }

    /// Preferences to learn from and to decide by. Of a file, the share `validation` of the rows, drawn by `seed`, is to decide by;
    /// of those that are generated, `n` are drawn to learn from.
    ///
    /// # Errors
    /// As [`Source::all`], or when there are too few for both.
    pub fn examples(
        &self,
        columns: &Columns,
        n: usize,
        validation: f64,
        seed: u64,
    ) -> Result<Examples> {
        if *self == Self::Arithmetic {
            let (train, validation) =
                (arithmetic::pairs(n, seed), arithmetic::set_apart(Split::Validation));
            return Ok(Examples { train, validation, ..Examples::default() });
        }
        let Preferences { usable: mut train, dropped } = match self {
            Self::Manners => {
                Preferences { usable: manners::pairs(n, seed), ..Preferences::default() }
            }
            _ => self.all(columns)?,
        };
        Rng::new(seed).shuffle(&mut train);
        let aside = ((train.len() as f64 * validation).round() as usize).max(1);
        ensure!(
            train.len() > aside,
            "{} pairs are too few to learn from and to validate on",
            train.len()
        );
        let validation = train.split_off(train.len() - aside);
        Ok(Examples { train, validation, dropped })
    }
}
