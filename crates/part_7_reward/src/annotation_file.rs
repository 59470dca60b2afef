//! Preferences labeled by a person or a rule: a JSON Lines file with one row per label, read by
//! `train --data`.
//!
//! Each row is written to disk before the next pair is shown, so a crash loses nothing; a line that
//! a crash left incomplete is removed when the file is opened. A prompt leaves a row even if its
//! completions were all the same, and is identified by its messages: labeling can be resumed with
//! any list of prompts in any order.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use model_io::ChatMessage;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tensor_core::{atomic_file, regular_file};

/// Limit of a file's length.
const MAX_BYTES: u64 = 1 << 30;

/// Label of a pair of completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// Index of the better completion, 0 or 1.
    Preferred(usize),
    /// Neither completion is better (skipped).
    NoPreference,
}

/// Details that a person may add to a label.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelDetails {
    /// Strength of the preference, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strength: Option<Strength>,
    /// Step of each criterion from −2 to 2, above 0 if the chosen completion is better by it; of a
    /// skipped pair, the first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub criteria: BTreeMap<String, i8>,
}

/// Strength of a preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strength {
    /// Slightly better.
    Slightly,
    /// Significantly better.
    Significantly,
}

/// Label of a pair in alphabetical order, in which files of several people can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// Prompt.
    pub prompt: Vec<ChatMessage>,
    /// Completions.
    pub pair: [String; 2],
    /// Step from −2 to 2: above 0 if the first is better, ±1 for slightly, 0 for neither.
    pub step: i8,
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
    /// Arguments of the chat template that the prompt has, in the columns of TRL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tools: Option<Value>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    chat_template_kwargs: Map<String, Value>,
    #[serde(flatten)]
    outcome: Outcome,
    #[serde(flatten)]
    details: LabelDetails,
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
            true => regular_file::read_to_string(path, MAX_BYTES)?,
            false => String::new(),
        };
        let complete_lines = complete_lines(&text);
        let rows = parse_rows(path, complete_lines)?;
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
        details: LabelDetails,
    ) -> Result<()> {
        let outcome = match label {
            Label::NoPreference => Outcome::Skipped { skipped: pair.map(String::from).to_vec() },
            Label::Preferred(better) => {
                let [chosen, rejected] = [pair[better], pair[1 - better]].map(String::from);
                Outcome::Labeled { chosen, rejected }
            }
        };
        self.append_row(prompt, outcome, details)
    }

    /// Appends a row without a preference between `completions` of `prompt` (may be empty).
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append_skipped(&mut self, prompt: &[ChatMessage], completions: &[&str]) -> Result<()> {
        let skipped = completions.iter().map(|&completion| completion.into()).collect();
        self.append_row(prompt, Outcome::Skipped { skipped }, LabelDetails::default())
    }

    fn append_row(
        &mut self,
        prompt: &[ChatMessage],
        outcome: Outcome,
        details: LabelDetails,
    ) -> Result<()> {
        let mut chat_template_kwargs = ChatMessage::template_arguments_of(prompt);
        let tools = chat_template_kwargs.remove("tools");
        let prompt = prompt.to_vec();
        let row = AnnotationRow { prompt, tools, chat_template_kwargs, outcome, details };
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

/// Labels of pairs in the file at `path`, in the order of the file.
///
/// # Errors
/// When the file cannot be read, or a row was not written by [`AnnotationFile`].
pub fn read_annotations(path: &Path) -> Result<Vec<Annotation>> {
    let text = regular_file::read_to_string(path, MAX_BYTES)?;
    let rows = parse_rows(path, complete_lines(&text))?;
    Ok(rows.into_iter().filter_map(AnnotationRow::annotation).collect())
}

/// Lines of `text` that end with a line break.
fn complete_lines(text: &str) -> &str {
    &text[..text.rfind('\n').map_or(0, |end| end + 1)]
}

fn parse_rows(path: &Path, lines: &str) -> Result<Vec<AnnotationRow>> {
    let parse = |(line, row): (usize, &str)| -> Result<AnnotationRow> {
        let row = serde_json::from_str::<AnnotationRow>(row).ok().with_context(|| {
            format!("{}:{line}: this row was not written by `collect`", path.display())
        })?;
        Ok(row.with_template_arguments())
    };
    (1..).zip(lines.lines()).map(parse).collect()
}

impl AnnotationRow {
    /// Row whose prompt has its arguments of the chat template again.
    fn with_template_arguments(mut self) -> Self {
        let mut arguments = self.chat_template_kwargs.clone();
        arguments.extend(self.tools.clone().map(|tools| ("tools".to_string(), tools)));
        ChatMessage::set_template_arguments_of(&mut self.prompt, arguments);
        self
    }

    /// Label of a pair; `None` if the row says that there was nothing to compare.
    fn annotation(self) -> Option<Annotation> {
        let (first, second, step) = match self.outcome {
            Outcome::Labeled { chosen, rejected } => match self.details.strength {
                Some(Strength::Slightly) => (chosen, rejected, 1),
                Some(Strength::Significantly) | None => (chosen, rejected, 2),
            },
            Outcome::Skipped { skipped } => {
                let [first, second] = <[String; 2]>::try_from(skipped).ok()?;
                (first, second, 0)
            }
        };
        let (pair, step) = match first <= second {
            true => ([first, second], step),
            false => ([second, first], -step),
        };
        Some(Annotation { prompt: self.prompt, pair, step })
    }
}
