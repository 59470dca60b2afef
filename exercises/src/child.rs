//! The learner's process: it grades one function and leaves the verdict in a file.

use std::path::Path;

use crate::course;
use crate::entry::Task;
use crate::grading::{GradeReport, Outcome};
use crate::runner::commands;

/// Runs `judge` and writes its verdict to the file that the first argument names.
pub fn report(judge: impl FnOnce() -> GradeReport) {
    report_all(|| vec![judge()]);
}

/// Runs `judge` and writes its verdicts to the file that the first argument names.
pub fn report_all(judge: impl FnOnce() -> Vec<GradeReport>) {
    // A panic is one answer among others; its message and its line go into the verdict.
    crate::grading::answers::note_panics();
    let verdicts = judge();
    let Some(path) = std::env::args().nth(1) else { return };
    if let Err(error) = tensor_core::json_file::write(Path::new(&path), &verdicts) {
        eprintln!("{error:#}");
    }
}

/// Panics with the lines of `verdict` if it is not "right", for a test.
///
/// # Panics
/// So.
pub fn assert_right(verdict: &GradeReport) {
    assert!(verdict.is_right(), "not right yet:\n{}", verdict.lines.join("\n"));
}

/// Verdict on `answers` to the questions of the exercise `name`.
pub fn judge_answers(name: &str, answers: &[&str]) -> GradeReport {
    match course::find(name).map(|entry| entry.task) {
        Some(Task::Predict(questions)) => commands::judge_answers(&questions(), answers),
        _ => GradeReport::new(Outcome::Wrong, vec![format!("{name} asks nothing")]),
    }
}
