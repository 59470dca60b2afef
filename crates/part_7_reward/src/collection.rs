//! Collecting preferences: a JSON Lines file that grows by a row per decision, and that `train` reads.
//!
//! A row is on the disk before the next question is asked, so that whatever happens loses nothing. Which prompt a row is about is part
//! of it: collecting goes on after the last one. A line that a crash cut short is cut off first.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tensor_core::atomic_file;

use crate::Preference;

/// A file of decisions.
#[derive(Debug)]
pub struct Collection {
    path: PathBuf,
    file: File,
    rows: usize,
    /// The prompt of the last row, and the decisions about it: better and worse.
    last: Option<(usize, Vec<[String; 2]>)>,
}

impl Collection {
    /// The file at `path`, or a new one.
    ///
    /// # Errors
    /// When it cannot be written, or holds rows of another kind.
    pub fn open(path: &Path) -> Result<Self> {
        let named = || path.display().to_string();
        let text = match path.exists() {
            true => std::fs::read_to_string(path).with_context(named)?,
            false => String::new(),
        };
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        let (mut rows, mut last) = (0, None::<(usize, Vec<[String; 2]>)>);
        for (line, row) in (1..).zip(whole.lines()) {
            let (number, decision) = read(row).with_context(|| format!("{}:{line}", named()))?;
            rows += 1;
            match &mut last {
                Some((of, decisions)) if *of == number => decisions.push(decision),
                _ => last = Some((number, vec![decision])),
            }
        }
        if whole.len() < text.len() {
            atomic_file::write(path, whole.as_bytes())?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("writing {}", named()))?;
        Ok(Self { path: path.into(), file, rows, last })
    }

    /// The prompt to go on with: the one of the last row, as there may be more to decide about it.
    pub fn next(&self) -> usize {
        self.last.as_ref().map_or(0, |(number, _)| *number)
    }

    /// Which of two responses to prompt `number` was found better, if that was decided.
    pub fn decided(&self, number: usize, pair: [&str; 2]) -> Option<usize> {
        let (_, decisions) = self.last.as_ref().filter(|(last, _)| *last == number)?;
        decisions.iter().find_map(|[better, worse]| match pair {
            [a, b] if a == better && b == worse => Some(0),
            [a, b] if b == better && a == worse => Some(1),
            _ => None,
        })
    }

    /// Adds a decision about prompt `number`; it is on the disk when this returns.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(&mut self, number: usize, preference: &Preference) -> Result<()> {
        let Preference { prompt, chosen, rejected } = preference;
        let row =
            json!({ "number": number, "prompt": prompt, "chosen": chosen, "rejected": rejected });
        let line = format!("{row}\n");
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.with_context(|| format!("writing {}", self.path.display()))?;
        self.rows += 1;
        let decision = [chosen.clone(), rejected.clone()];
        match &mut self.last {
            Some((of, decisions)) if *of == number => decisions.push(decision),
            _ => self.last = Some((number, vec![decision])),
        }
        Ok(())
    }

    /// Rows in the file.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

/// The prompt's number and the decision of a row.
fn read(row: &str) -> Result<(usize, [String; 2])> {
    let row: Value = serde_json::from_str(row).context("no JSON")?;
    let number = row["number"].as_u64();
    let sides = ["chosen", "rejected"].map(|side| row[side].as_str().map(String::from));
    ensure!(
        number.is_some() && sides.iter().all(Option::is_some),
        "this row was not written by `collect`, which says `number`, `chosen` and `rejected`"
    );
    Ok((number.unwrap_or_default() as usize, sides.map(Option::unwrap_or_default)))
}
