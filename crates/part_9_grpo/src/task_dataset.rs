//! Problems of a task for training and validation: the built-in ones, or the rows of files and
//! their split.

use anyhow::{Result, ensure};
use datasets::{Example, Mixture, SplitRule, SplitSpec, Splits};
use serde_json::{Value, json};
use tensor_core::sha256;

use crate::Task;
use crate::flags::TaskFlags;

/// Problems by split.
#[derive(Debug)]
pub struct TaskDataset {
    /// Problems, of which no question is in two splits.
    pub splits: Splits<Example>,
    /// Training problems that were left out, because a validation problem has their question.
    pub n_leaks: usize,
    /// Rule by which the rows of a file were split, if they were.
    pub rule: Option<SplitRule>,
}

impl Task {
    /// Problems for training and validation, prompts with the right answer as completion: `rows`,
    /// else the built-in ones. Validation problems are `validation`, else those that `split_spec`
    /// holds out of `rows`. No question is in both splits.
    ///
    /// # Errors
    /// When no problem is left to train on.
    pub fn load_dataset(
        self,
        rows: Option<Vec<Example>>,
        validation: Option<Vec<Example>>,
        split_spec: SplitSpec,
    ) -> Result<TaskDataset> {
        let split_rows = rows.as_ref().filter(|_| validation.is_none());
        let rule = split_rows.map(|rows| split_spec.rule(rows.len()));
        let mut splits = match (rows, rule) {
            (None, _) => self.built_in_splits()?,
            (Some(rows), Some(rule)) => rule.hold_out(rows)?,
            (Some(rows), None) => Splits { train: rows, validation: Vec::new(), test: Vec::new() },
        };
        if let Some(validation) = validation {
            splits.validation = validation;
        }
        let n_leaks = splits.remove_leaks();
        ensure!(!splits.train.is_empty(), "every training problem is also a validation problem");
        Ok(TaskDataset { splits, n_leaks, rule })
    }
}

impl TaskFlags {
    /// Problems for training and validation, those of `--data`, split as `split_spec` says, and of
    /// `eval_file`, whose split is `eval_split`.
    ///
    /// # Errors
    /// Those of [`DatasetFlags::locate`](datasets::DatasetFlags::locate) and
    /// [`Task::load_dataset`].
    pub fn load_dataset(
        &self,
        eval_file: Option<&str>,
        eval_split: Option<&str>,
        split_spec: SplitSpec,
    ) -> Result<TaskDataset> {
        let eval_files = eval_file
            .map(|name| self.dataset.for_evaluation(name, eval_split).locate(name))
            .transpose()?;
        let rows = self.load_rows_drawn_by(split_spec.mixture_seed())?;
        let validation = eval_files.map(|files| self.task.read_files(&files)).transpose()?;
        self.task.load_dataset(rows, validation, split_spec)
    }

    /// Problems of `--data`, those of a mixture one source after the other; `None` without it.
    ///
    /// # Errors
    /// Those of [`DatasetFlags::locate`](datasets::DatasetFlags::locate), and when a row is
    /// invalid.
    pub fn load_rows(&self) -> Result<Option<Vec<Example>>> {
        self.load_by(Mixture::concat)
    }

    /// Like [`load_rows`](Self::load_rows), a mixture drawn by `mixture_seed`.
    ///
    /// # Errors
    /// Those of [`load_rows`](Self::load_rows).
    pub fn load_rows_drawn_by(&self, mixture_seed: u64) -> Result<Option<Vec<Example>>> {
        self.load_by(|mixture| mixture.interleave(mixture_seed))
    }

    /// Problems of `--data`; `mix` makes those of a mixture one list.
    fn load_by(
        &self,
        mix: impl FnOnce(Mixture<Vec<Example>>) -> Vec<Example>,
    ) -> Result<Option<Vec<Example>>> {
        let Some(data) = self.file_data() else { return Ok(None) };
        let read = |name: &str| self.task.read_files(&self.dataset.locate(name)?);
        match self.dataset.open_mixture(data, read)? {
            Some(mixture) => Ok(Some(mix(mixture))),
            None => read(data).map(Some),
        }
    }
}

impl TaskDataset {
    /// Prints what is to be known of the training problems: those that were left out, and those
    /// that repeat another.
    pub fn print_counts(&self) {
        let (n_leaks, n_repeated) = (self.n_leaks, self.splits.n_repeated());
        if n_leaks > 0 {
            println!("{n_leaks} problems are left out of training: validation has their question");
        }
        if n_repeated > 0 {
            println!("{n_repeated} training problems repeat the question of another");
        }
    }

    /// SHA-256 of the problems of training and validation, so that a checkpoint is not resumed with
    /// other data.
    pub fn sha256(&self) -> String {
        let text = |Example { prompt, completion, tests, .. }: &Example| {
            let messages: Vec<Value> =
                prompt.iter().map(|message| json!(message.content)).collect();
            match tests.is_empty() {
                true => json!([messages, completion]).to_string(),
                false => json!([messages, completion, tests]).to_string(),
            }
        };
        let Splits { train, validation, .. } = &self.splits;
        let all: Vec<String> = train.iter().chain(validation).map(text).collect();
        sha256::hash_bytes(all.join("\n").as_bytes())
    }
}
