//! The verdict on an exercise, as it goes from the learner's process to the runner.

use serde::{Deserialize, Serialize};

/// Outcome of grading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// All answers are right.
    Right,
    /// Something is still to be written.
    Unwritten,
    /// An answer is wrong.
    Wrong,
}

/// Outcome with the lines that explain it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GradeReport {
    /// Outcome.
    pub outcome: Outcome,
    /// Lines to show, without colour.
    pub lines: Vec<String>,
    /// Index of the known mistake that gives the same answers.
    pub mistake: Option<usize>,
    /// Place to read about it, as the head of an exercise names places.
    pub read: Option<String>,
}

impl GradeReport {
    /// Verdict without a known mistake.
    pub fn new(outcome: Outcome, lines: Vec<String>) -> Self {
        Self { outcome, lines, mistake: None, read: None }
    }

    /// True if all answers are right.
    pub fn is_right(&self) -> bool {
        self.outcome == Outcome::Right
    }
}
