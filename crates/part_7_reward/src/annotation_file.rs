//! Collecting preferences: a JSON Lines file that grows by a row per decision, and that `train` reads.
//!
//! A row is on the disk before the next question is asked, so that whatever happens loses nothing. Each question leaves a row at
//! least, if only that nothing was decided, and is known by what it asks: the file may be gone on with from any list of questions,
//! in any order. A line that a crash cut short is cut off first.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use modern::ChatMessage;
use serde::{Deserialize, Serialize};
use tensor_core::atomic_file;

/// What was decided about a pair of responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// Which is better, 0 or 1.
    Preferred(usize),
    /// Neither is.
    NoPreference,
}

/// A file of decisions, which no other process writes meanwhile.
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
    /// The file at `path`, or a new one.
    ///
    /// # Errors
    /// When it cannot be written, another process is writing it, or it holds rows of another kind.
    pub fn open(path: &Path) -> Result<Self> {
        let named = || path.display().to_string();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("creating {}", folder.display()))?;
        }
        let text = match path.exists() {
            true => std::fs::read_to_string(path).with_context(named)?,
            false => String::new(),
        };
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        let row = |(line, row): (usize, &str)| {
            serde_json::from_str(row).ok().with_context(|| {
                format!("{}:{line}: this row was not written by `collect`", named())
            })
        };
        let rows = (1..).zip(whole.lines()).map(row).collect::<Result<_>>()?;
        let open = || OpenOptions::new().create(true).append(true).open(path).with_context(named);
        if let Err(TryLockError::WouldBlock) = open()?.try_lock() {
            bail!("another process is collecting into {}", named());
        }
        if whole.len() < text.len() {
            atomic_file::write(path, whole.as_bytes())?;
        }
        let file = open()?;
        file.try_lock().with_context(|| format!("writing {}", named()))?;
        Ok(Self { path: path.into(), file, rows })
    }

    /// Whether all was decided about the question `prompt`: it has rows, and after the last of them there was nothing to decide, or
    /// another question.
    pub fn is_annotated(&self, prompt: &[ChatMessage]) -> bool {
        let asked = self.rows.iter().any(|row| row.prompt == prompt);
        let open = |row: &AnnotationRow| match &row.outcome {
            Outcome::Skipped { skipped } => skipped.len() >= 2,
            Outcome::Labeled { .. } => true,
        };
        asked && !self.rows.last().is_some_and(|row| row.prompt == prompt && open(row))
    }

    /// What was decided about two responses to `prompt`, if it was.
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
                let both = pair.iter().all(|one| skipped.iter().any(|skipped| skipped == one));
                both.then_some(Label::NoPreference)
            }
            Outcome::Labeled { .. } => None,
        })
    }

    /// Adds a decision about two responses to `prompt`; it is on the disk when this returns.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append_label(
        &mut self,
        prompt: &[ChatMessage],
        pair: [&str; 2],
        verdict: Label,
    ) -> Result<()> {
        match verdict {
            Label::NoPreference => self.append_skipped(prompt, &pair),
            Label::Preferred(better) => {
                let [chosen, rejected] = [pair[better], pair[1 - better]].map(String::from);
                self.write(prompt, Outcome::Labeled { chosen, rejected })
            }
        }
    }

    /// Adds that of these responses to `prompt`, perhaps none, no two are told apart.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append_skipped(&mut self, prompt: &[ChatMessage], responses: &[&str]) -> Result<()> {
        let skipped = responses.iter().map(|&response| response.into()).collect();
        self.write(prompt, Outcome::Skipped { skipped })
    }

    fn write(&mut self, prompt: &[ChatMessage], said: Outcome) -> Result<()> {
        let row = AnnotationRow { prompt: prompt.into(), outcome: said };
        let line = format!("{}\n", serde_json::to_string(&row)?);
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.with_context(|| format!("writing {}", self.path.display()))?;
        self.rows.push(row);
        Ok(())
    }

    /// How many preferences are in the file.
    pub fn n_preferences(&self) -> usize {
        self.rows.iter().filter(|row| matches!(row.outcome, Outcome::Labeled { .. })).count()
    }
}
