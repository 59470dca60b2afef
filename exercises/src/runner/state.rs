//! The learner's progress, one file: `exercises/work/state.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tensor_core::json_file;

use super::work;
use crate::course::{self, PARTS};
use crate::entry::{Entry, Part};

/// Version of the file.
const VERSION: u32 = 1;

/// Progress in the course.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// Progress in each exercise that was begun, by name.
    pub exercises: BTreeMap<String, Progress>,
    /// Parts of which only the two gate exercises are to be solved.
    pub skipped: BTreeSet<String>,
}

/// Progress in an exercise.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Standing.
    pub standing: Standing,
    /// Number of hints shown.
    pub hints: usize,
    /// Number of verdicts.
    pub attempts: usize,
}

/// Standing of an exercise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Not solved.
    #[default]
    Open,
    /// Not solved, and the solution was shown.
    GivenUp,
    /// Solved.
    Solved,
    /// Solved after the solution was shown.
    SolvedAfterGivingUp,
}

impl Standing {
    /// True if solved.
    pub fn is_solved(self) -> bool {
        matches!(self, Self::Solved | Self::SolvedAfterGivingUp)
    }

    /// Standing after a right answer.
    pub fn solved(self) -> Self {
        match self {
            Self::Open | Self::Solved => Self::Solved,
            Self::GivenUp | Self::SolvedAfterGivingUp => Self::SolvedAfterGivingUp,
        }
    }

    /// Standing after the file was made as it was at first.
    pub fn reopened(self) -> Self {
        match self {
            Self::Open | Self::Solved => Self::Open,
            Self::GivenUp | Self::SolvedAfterGivingUp => Self::GivenUp,
        }
    }
}

impl Progress {
    /// True if code that may hold the solution of `entry` is shown: it is solved, its solution was
    /// shown, or all its hints were.
    pub fn may_see_code(&self, entry: &Entry) -> bool {
        self.standing != Standing::Open || self.hints >= entry.head().hints.len()
    }
}

impl Default for State {
    fn default() -> Self {
        Self { version: VERSION, exercises: BTreeMap::new(), skipped: BTreeSet::new() }
    }
}

impl State {
    /// Reads the file; nothing is solved if there is none.
    ///
    /// # Errors
    /// When it is damaged or of another version.
    pub fn read() -> Result<Self> {
        Self::read_file(&work::folder().join("state.json"))
    }

    /// Reads the file at `path`, as [`State::read`] does.
    ///
    /// # Errors
    /// When it is damaged or of another version.
    pub fn read_file(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let value = json_file::read(path)?;
        let version = value.get("version").and_then(|version| version.as_u64());
        ensure!(
            version == Some(u64::from(VERSION)),
            "{} is of another version than this runner; rename it, and your files are graded \
             again",
            path.display()
        );
        serde_json::from_value(value)
            .with_context(|| format!("{} is damaged; rename it to begin anew", path.display()))
    }

    /// Changes the file: reads it, calls `change` and writes it, while other runners wait.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn update<T>(change: impl FnOnce(&mut Self) -> T) -> Result<T> {
        fs::create_dir_all(work::folder())
            .with_context(|| format!("making {}", work::folder().display()))?;
        let lock = File::create(work::folder().join("state.lock")).context("opening state.lock")?;
        lock.lock().context("locking state.lock")?;
        let mut state = Self::read()?;
        let result = change(&mut state);
        json_file::write(&work::folder().join("state.json"), &state)?;
        Ok(result)
    }

    /// Progress in `entry`.
    pub fn of(&self, entry: &Entry) -> Progress {
        self.exercises.get(entry.name).cloned().unwrap_or_default()
    }

    /// True if `entry` is solved.
    pub fn is_solved(&self, entry: &Entry) -> bool {
        self.of(entry).standing.is_solved()
    }

    /// Progress in `entry`, to be changed.
    pub fn of_mut(&mut self, entry: &Entry) -> &mut Progress {
        self.exercises.entry(entry.name.to_string()).or_default()
    }

    /// True if `entry` is to be solved, or was.
    pub fn counts(&self, entry: &Entry) -> bool {
        let part = course::part(entry.head().part());
        let is_gate = part.is_some_and(|part| part.gates.contains(&entry.name));
        is_gate || self.is_solved(entry) || !self.skipped.contains(entry.head().part())
    }

    /// Next exercise to solve.
    pub fn next(&self) -> Option<&'static Entry> {
        course::exercises().find(|entry| self.counts(entry) && !self.is_solved(entry))
    }

    /// True if all of `part` that counts is solved.
    pub fn is_done(&self, part: &Part) -> bool {
        part.exercises.iter().all(|entry| !self.counts(entry) || self.is_solved(entry))
    }

    /// Solved exercises, and those that count.
    pub fn score(&self) -> (usize, usize) {
        let counted = PARTS.iter().flat_map(|part| part.exercises);
        let counted: Vec<_> = counted.filter(|entry| self.counts(entry)).collect();
        (counted.iter().filter(|entry| self.is_solved(entry)).count(), counted.len())
    }
}
