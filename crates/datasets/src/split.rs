//! Splits of a data set: rows to train on, rows to validate with, and rows to report results on.

use std::collections::HashSet;

use anyhow::{Result, ensure};
use tensor_core::Rng;

use crate::example::Example;

/// Split of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Training set.
    Train,
    /// Validation set, for example for early stopping.
    Validation,
    /// Test set (held out), for reported results.
    Test,
}

/// Rows of a data set by split.
#[derive(Debug, Clone)]
pub struct Splits<T> {
    /// Training rows.
    pub train: Vec<T>,
    /// Validation rows.
    pub validation: Vec<T>,
    /// Test rows; none if only a validation set was held out.
    pub test: Vec<T>,
}

impl<T> Splits<T> {
    /// Random split: `rows` are shuffled with `seed`, the last `n_validation` are for validation,
    /// and the `n_test` before them for test. So the validation rows do not depend on `n_test`.
    ///
    /// # Errors
    /// When no row is left to train on.
    pub fn hold_out(
        mut rows: Vec<T>,
        n_validation: usize,
        n_test: usize,
        seed: u64,
    ) -> Result<Self> {
        let n = rows.len();
        ensure!(
            n > n_validation + n_test,
            "{n} rows are too few: {n_validation} for validation and {n_test} for test leave \
             nothing to train on"
        );
        Rng::new(seed).shuffle(&mut rows);
        let validation = rows.split_off(n - n_validation);
        let test = rows.split_off(rows.len() - n_test);
        Ok(Self { train: rows, validation, test })
    }

    /// [`Splits::hold_out`] of the shares `validation` and `test` of the rows; at least one row is
    /// for validation.
    ///
    /// # Errors
    /// When no row is left to train on.
    pub fn hold_out_shares(rows: Vec<T>, validation: f64, test: f64, seed: u64) -> Result<Self> {
        let n_validation = (rows.len() as f64 * validation).round() as usize;
        let n_test = (rows.len() as f64 * test).round() as usize;
        Self::hold_out(rows, n_validation.max(1), n_test, seed)
    }
}

impl Splits<Example> {
    /// Removes the training examples whose question, the last message of the prompt, is also that
    /// of a validation or test example.
    pub fn remove_leaks(&mut self) {
        let question = |example: &Example| example.prompt.last().map(|last| last.content.clone());
        let held_out: HashSet<_> = self.validation.iter().chain(&self.test).map(question).collect();
        self.train.retain(|example| !held_out.contains(&question(example)));
    }
}
