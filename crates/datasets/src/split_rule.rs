//! Rule by which a run split its rows. A run records it with its settings, so that an evaluation
//! holds out the same rows, whichever part trained the model.
//!
//! ```text
//! config.json   "split_rule": { "n_rows": 700, "n_validation": 70, "n_test": 0,
//!                               "seed": 1337, "mixture_seed": 1337 }
//! ```
//!
//! A later run on the same rows may keep to the rule, and a resumed run keeps its own.

use std::fmt::Display;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Example, PromptRow, Splits};

/// Seed of the split of a task's problems. It is not a run's seed, so that all runs have the same
/// split.
const PROBLEMS_SEED: u64 = 90;
/// Largest share of a file's problems in the validation split.
const MAX_VALIDATION_SHARE: f64 = 0.1;
/// Largest number of a file's problems in the validation split.
const MAX_VALIDATION_ROWS: usize = 200;

/// Rule of a random split that keeps rows of one prompt together, as [`Splits::hold_out`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitRule {
    /// Number of rows that are split.
    pub n_rows: usize,
    /// Smallest number of rows for validation.
    pub n_validation: usize,
    /// Smallest number of rows for test.
    pub n_test: usize,
    /// Seed of the order of the prompts.
    pub seed: u64,
    /// Seed by which the rows of a mixture are drawn before that.
    pub mixture_seed: u64,
}

impl SplitRule {
    /// Name of the rule among the settings of a run.
    pub const SETTING: &str = "split_rule";
    /// Seed of a mixture of a task's problems, which are split in the same way for every run.
    pub const PROBLEMS_MIXTURE_SEED: u64 = 0;
    /// Share of the rows in the validation split without --validation.
    pub const VALIDATION_SHARE: f64 = 0.1;

    /// Warning if there are other rows than when `run` was trained on them.
    pub fn changed_since(run: impl Display) -> String {
        format!(
            "{run} was trained on rows of these data, and they have changed since: which ones it \
             held out is not known"
        )
    }

    /// Rule that the run with these `settings` recorded; `None` of built-in data, and of a run of
    /// an earlier version.
    ///
    /// # Errors
    /// When it is invalid.
    pub fn recorded(settings: &Value) -> Result<Option<Self>> {
        Ok(serde_json::from_value(settings[Self::SETTING].clone())?)
    }

    /// Rule of a split into shares of `n_rows` rows; at least one row is for validation.
    pub fn of_shares(n_rows: usize, validation: f64, test: f64, seed: u64) -> Self {
        let rows = |share: f64| (n_rows as f64 * share).round() as usize;
        let (n_validation, n_test) = (rows(validation).max(1), rows(test));
        Self { n_rows, n_validation, n_test, seed, mixture_seed: seed }
    }

    /// This rule with the share `validation` of the rows for validation, at least one row. The rows
    /// of a smaller share are among those of a larger one.
    #[must_use]
    pub fn with_validation(self, validation: f64) -> Self {
        let Self { n_validation, .. } = Self::of_shares(self.n_rows, validation, 0., self.seed);
        Self { n_validation, ..self }
    }

    /// This rule with the share `test` of the rows for test.
    #[must_use]
    pub fn with_test(self, test: f64) -> Self {
        let Self { n_test, .. } = Self::of_shares(self.n_rows, 0., test, self.seed);
        Self { n_test, ..self }
    }

    /// Rule of a task's problems: up to a tenth of `n_rows` for validation, always the same ones.
    pub fn of_problems(n_rows: usize) -> Self {
        let n_validation = (n_rows as f64 * MAX_VALIDATION_SHARE) as usize;
        Self {
            n_rows,
            n_validation: n_validation.clamp(1, MAX_VALIDATION_ROWS),
            n_test: 0,
            seed: PROBLEMS_SEED,
            mixture_seed: Self::PROBLEMS_MIXTURE_SEED,
        }
    }

    /// Splits of `rows`.
    ///
    /// # Errors
    /// When no row is left to train on.
    pub fn hold_out<T: PromptRow>(&self, rows: Vec<T>) -> Result<Splits<T>> {
        let Self { n_validation, n_test, seed, .. } = *self;
        Splits::hold_out(rows, T::question, n_validation, n_test, seed)
    }

    /// True if the run with these `settings` split its rows.
    pub fn is_of_run(settings: &Value) -> bool {
        let has = |key: &str| !settings[key].is_null();
        has(Self::SETTING) || has("validation") || has("task")
    }

    /// Rule and splits of the run with these `settings`; `load` reads its rows, a mixture drawn by
    /// the seed that it is given. `None` if there are other rows than when the run was trained.
    ///
    /// # Errors
    /// Those of `load`, or when the recorded rule is invalid.
    pub fn splits_of_run(
        settings: &Value,
        load: impl FnOnce(u64) -> Result<Vec<Example>>,
    ) -> Result<Option<(Self, Splits<Example>)>> {
        let recorded = Self::recorded(settings)?;
        let seed = settings["split_seed"].as_u64().or(settings["seed"].as_u64());
        let seed = seed.unwrap_or_default();
        let share = |key: &str| settings[key].as_f64().unwrap_or_default();
        let mixture_seed = match recorded {
            Some(rule) => rule.mixture_seed,
            None if has_problems(settings) => Self::PROBLEMS_MIXTURE_SEED,
            None => seed,
        };
        let rows = load(mixture_seed)?;
        let n_rows = rows.len();
        let rule = match recorded {
            Some(rule) if rule.n_rows != n_rows => return Ok(None),
            Some(rule) => rule,
            // Runs of earlier versions.
            None if has_problems(settings) => Self::of_problems(n_rows),
            None => Self::of_shares(n_rows, share("validation"), share("test"), seed),
        };
        Ok(Some((rule, rule.hold_out(rows)?)))
    }
}

/// Split that a run asks for, before its rows are counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SplitSpec {
    /// Share of the rows for validation, drawn by a seed, as part 6 splits them.
    Shares {
        /// Share of the rows in the validation split.
        validation: f64,
        /// Seed of the split, and of a mixture.
        seed: u64,
    },
    /// Split of a task's problems that all runs share.
    Problems,
    /// That split with another share of the problems for validation.
    ProblemShare(f64),
    /// Split of an earlier run.
    Recorded(SplitRule),
}

impl SplitSpec {
    /// This split with the share `validation` of the rows for validation, if one is given.
    #[must_use]
    pub fn with_validation(self, validation: Option<f64>) -> Self {
        match (validation, self) {
            (None, _) => self,
            (Some(validation), Self::Shares { seed, .. }) => Self::Shares { validation, seed },
            (Some(validation), Self::Problems | Self::ProblemShare(_)) => {
                Self::ProblemShare(validation)
            }
            (Some(validation), Self::Recorded(rule)) => {
                Self::Recorded(rule.with_validation(validation))
            }
        }
    }

    /// Seed by which the rows of a mixture are drawn.
    pub fn mixture_seed(&self) -> u64 {
        match *self {
            Self::Shares { seed, .. } => seed,
            Self::Problems | Self::ProblemShare(_) => SplitRule::PROBLEMS_MIXTURE_SEED,
            Self::Recorded(rule) => rule.mixture_seed,
        }
    }

    /// Rule of the split of `n_rows` rows.
    pub fn rule(&self, n_rows: usize) -> SplitRule {
        match *self {
            Self::Shares { validation, seed } => SplitRule::of_shares(n_rows, validation, 0., seed),
            Self::Problems => SplitRule::of_problems(n_rows),
            Self::ProblemShare(validation) => {
                SplitRule::of_problems(n_rows).with_validation(validation)
            }
            Self::Recorded(rule) => SplitRule { n_rows, ..rule },
        }
    }
}

/// True if the run with these `settings` split a task's problems as all runs do: one of part 9, or
/// of part 10 on its own completions.
fn has_problems(settings: &Value) -> bool {
    let is_text = |key: &str| settings[key].is_string();
    let is_problems = is_text("online") || (is_text("task") && settings["validation"].is_null());
    is_problems && settings["split_seed"].is_null()
}
