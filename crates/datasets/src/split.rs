//! Splits of a data set: rows to train on, rows to validate with, and rows to report results on.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use anyhow::{Context, Result};
use tensor_core::Rng;

use crate::example::Example;
use crate::prompt_row::PromptRow;

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
    /// Random split that keeps rows of one prompt together, because a model that has learned an
    /// answer to a question is not to be asked the same question. `prompt` names a row's prompt.
    ///
    /// The prompts are shuffled with `seed`; the last ones, with `n_validation` rows or a few more,
    /// are for validation, and those before them, with `n_test` rows, for test. So the validation
    /// rows do not depend on `n_test`.
    ///
    /// # Errors
    /// When no row is left to train on.
    pub fn hold_out<P: Eq + Hash>(
        rows: Vec<T>,
        prompt: impl Fn(&T) -> P,
        n_validation: usize,
        n_test: usize,
        seed: u64,
    ) -> Result<Self> {
        let n = rows.len();
        let mut prompts: Vec<Vec<T>> = Vec::new();
        let mut index_of = HashMap::new();
        for row in rows {
            let index = *index_of.entry(prompt(&row)).or_insert(prompts.len());
            match prompts.get_mut(index) {
                Some(rows) => rows.push(row),
                None => prompts.push(vec![row]),
            }
        }
        Rng::new(seed).shuffle(&mut prompts);
        let mut hold_out = |n: usize| {
            let (mut start, mut n_rows) = (prompts.len(), 0);
            while n_rows < n {
                start = start.checked_sub(1)?;
                n_rows += prompts[start].len();
            }
            Some(prompts.split_off(start).into_iter().flatten().collect())
        };
        let held_out = hold_out(n_validation).zip(hold_out(n_test));
        let (validation, test) = held_out.filter(|_| !prompts.is_empty()).with_context(|| {
            format!(
                "too few rows ({n}): {n_validation} for validation and {n_test} for test leave \
                 nothing to train on (rows of one prompt stay together)"
            )
        })?;
        Ok(Self { train: prompts.into_iter().flatten().collect(), validation, test })
    }
}

impl Splits<Example> {
    /// Removes the training examples whose [conversation](PromptRow::conversation) is also that of
    /// a validation or test example, and returns their number.
    pub fn remove_leaks(&mut self) -> usize {
        let held_out = self.validation.iter().chain(&self.test);
        let held_out: HashSet<_> = held_out.map(Example::conversation).collect();
        let n = self.train.len();
        self.train.retain(|example| !held_out.contains(&example.conversation()));
        n - self.train.len()
    }

    /// Number of training examples whose conversation is that of an earlier one.
    pub fn n_repeated(&self) -> usize {
        let distinct: HashSet<_> = self.train.iter().map(Example::conversation).collect();
        self.train.len() - distinct.len()
    }
}
