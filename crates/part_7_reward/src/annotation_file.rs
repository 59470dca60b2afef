//! Preferences labeled by a person or a rule: a JSON Lines file with one row per label, read by
//! `train --data`.
//!
//! Each row is written to disk before the next pair is shown, so a crash loses nothing; a line that
//! a crash left incomplete is removed when the file is opened. A prompt leaves a row even if its
//! completions were all the same, and is identified by its messages: labeling can be resumed with
//! any list of prompts in any order.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use model_io::ChatMessage;
use serde::{Deserialize, Serialize};
use sft::metrics::exact_match;
use tensor_core::atomic_file;

/// Label of a pair of completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// Index of the better completion, 0 or 1.
    Preferred(usize),
    /// Neither completion is better (skipped).
    NoPreference,
}

/// File of labels, locked against other processes that would write to it.
#[derive(Debug)]
pub struct AnnotationFile {
    path: PathBuf,
    file: File,
    rows: Vec<AnnotationRow>,
}

#[derive(Debug, Serialize, Deserialize)]
struct AnnotationRow {
    prompt: Vec<ChatMessage>,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Outcome {
    Labeled { chosen: String, rejected: String },
    Skipped { skipped: Vec<String> },
}

impl AnnotationFile {
    /// Opens the file at `path` and reads its rows; creates the file if it does not exist.
    ///
    /// # Errors
    /// When the file cannot be written, another process is writing to it, or a row was not written
    /// by this type.
    pub fn open(path: &Path) -> Result<Self> {
        let path_text = || path.display().to_string();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("creating {}", folder.display()))?;
        }
        let text = match path.exists() {
            true => std::fs::read_to_string(path).with_context(path_text)?,
            false => String::new(),
        };
        let complete_lines = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        let parse = |(line, row): (usize, &str)| {
            serde_json::from_str(row).ok().with_context(|| {
                format!("{}:{line}: this row was not written by `collect`", path_text())
            })
        };
        let rows = (1..).zip(complete_lines.lines()).map(parse).collect::<Result<_>>()?;
        let open_file =
            || OpenOptions::new().create(true).append(true).open(path).with_context(path_text);
        if let Err(TryLockError::WouldBlock) = open_file()?.try_lock() {
            bail!("another process is collecting into {}", path_text());
        }
        if complete_lines.len() < text.len() {
            atomic_file::write(path, complete_lines.as_bytes())?;
        }
        let file = open_file()?;
        file.try_lock().with_context(|| format!("writing {}", path_text()))?;
        Ok(Self { path: path.into(), file, rows })
    }

    /// Returns true if every pair of `prompt` has been labeled. The prompt of the last row may have
    /// pairs left to label, unless that row records that there was nothing to compare.
    pub fn is_annotated(&self, prompt: &[ChatMessage]) -> bool {
        let has_rows = self.rows.iter().any(|row| row.prompt == prompt);
        let may_have_more_pairs = |row: &AnnotationRow| match &row.outcome {
            Outcome::Skipped { skipped } => skipped.len() >= 2,
            Outcome::Labeled { .. } => true,
        };
        let is_unfinished = |row: &AnnotationRow| row.prompt == prompt && may_have_more_pairs(row);
        has_rows && !self.rows.last().is_some_and(is_unfinished)
    }

    /// Label of two completions of `prompt`, or `None` if this pair has not been labeled.
    pub fn label(&self, prompt: &[ChatMessage], pair: [&str; 2]) -> Option<Label> {
        let [a, b] = pair;
        self.rows.iter().filter(|row| row.prompt == prompt).find_map(|row| match &row.outcome {
            Outcome::Labeled { chosen, rejected } if [a, b] == [chosen, rejected] => {
                Some(Label::Preferred(0))
            }
            Outcome::Labeled { chosen, rejected } if [b, a] == [chosen, rejected] => {
                Some(Label::Preferred(1))
            }
            Outcome::Skipped { skipped } => {
                let both_skipped =
                    pair.iter().all(|text| skipped.iter().any(|other| other == text));
                both_skipped.then_some(Label::NoPreference)
            }
            Outcome::Labeled { .. } => None,
        })
    }

    /// Appends the label of two completions of `prompt` and syncs it to disk before returning.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append_label(
        &mut self,
        prompt: &[ChatMessage],
        pair: [&str; 2],
        label: Label,
    ) -> Result<()> {
        match label {
            Label::NoPreference => self.append_skipped(prompt, &pair),
            Label::Preferred(better) => {
                let [chosen, rejected] = [pair[better], pair[1 - better]].map(String::from);
                self.append_row(prompt, Outcome::Labeled { chosen, rejected })
            }
        }
    }

    /// Appends a row without a preference between `completions` of `prompt` (may be empty).
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append_skipped(&mut self, prompt: &[ChatMessage], completions: &[&str]) -> Result<()> {
        let skipped = completions.iter().map(|&completion| completion.into()).collect();
        self.append_row(prompt, Outcome::Skipped { skipped })
    }

    fn append_row(&mut self, prompt: &[ChatMessage], outcome: Outcome) -> Result<()> {
        let row = AnnotationRow { prompt: prompt.into(), outcome };
        let line = format!("{}\n", serde_json::to_string(&row)?);
        let result = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        result.with_context(|| format!("writing {}", self.path.display()))?;
        self.rows.push(row);
        Ok(())
    }

    /// Number of rows with a preference.
    pub fn n_preferences(&self) -> usize {
        self.rows.iter().filter(|row| matches!(row.outcome, Outcome::Labeled { .. })).count()
    }
}

/// Rule that labels the better of two completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum PreferenceRule {
    /// Prefer the completion that matches the dataset's answer exactly, if the other does not
    Exact,
    /// Prefer the shorter completion
    Shorter,
}

impl PreferenceRule {
    /// Index (0 or 1) of the better completion of `pair`, or `None` if the rule does not decide.
    /// `expected` is the right answer.
    pub fn preferred_index(self, pair: [&str; 2], expected: &str) -> Option<usize> {
        let order = match self {
            Self::Exact => {
                let [a, b] = pair.map(|completion| exact_match(completion, expected));
                a.cmp(&b)
            }
            Self::Shorter => {
                let [a, b] = pair.map(|completion| completion.chars().count());
                b.cmp(&a)
            }
        };
        match order {
            std::cmp::Ordering::Greater => Some(0),
            std::cmp::Ordering::Less => Some(1),
            std::cmp::Ordering::Equal => None,
        }
    }
}
