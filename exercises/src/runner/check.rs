//! `cargo x exercises check`: the contract between an exercise, its stub and its grader.

use anyhow::{Result, ensure};

use super::{trial, work};
use crate::course;
use crate::entry::{Entry, Task};
use crate::grading::Outcome;
use crate::source::{Head, Kind};

/// Most minutes of one exercise.
const MAX_MINUTES: u32 = 60;
/// Fewest known mistakes of an exercise to fill in, and of a probe.
const MIN_MISTAKES: usize = 3;

/// Faults of `entry` that no compiler is needed for: its head, its places to read, its solution,
/// its known mistakes.
pub fn faults(entry: &Entry) -> Vec<String> {
    let Some(head) = Head::parse(entry.source) else {
        return vec!["the first line or a place to read is malformed".to_string()];
    };
    let mut faults = Vec::new();
    let mut expect = |good: bool, fault: &str| {
        if !good {
            faults.push(fault.to_string());
        }
    };
    expect(head.hints.len() == 3, "there are not three hints");
    expect(head.hints.iter().all(|hint| !hint.trim().is_empty()), "a hint is empty");
    expect((1..=MAX_MINUTES).contains(&head.minutes), "the minutes are out of bounds");
    expect(["●○○", "●●○", "●●●"].contains(&head.difficulty), "the difficulty is not one of three");
    expect(!head.text.is_empty(), "there is no text");
    expect(head.sections().next().is_some(), "there is no section of a text to read");
    for place in &head.read {
        expect(place.locate(&work::root()).is_some(), &format!("{place:?} does not exist"));
    }
    match entry.task {
        Task::Code { solution, faults: of_grader, mistakes } => {
            let enough = if head.kind == Kind::FindTheBug { 1 } else { MIN_MISTAKES };
            expect(mistakes >= enough, "there are too few known mistakes");
            let verdict = solution();
            expect(verdict.is_right(), &format!("the solution is refused: {verdict:?}"));
            faults.extend(of_grader());
        }
        Task::Predict(questions) => {
            faults.extend(questions().iter().flat_map(|question| question.faults()));
        }
        Task::Measure(measure) => faults.extend(measure.faults()),
    }
    faults
}

/// Checks all exercises, then that every stub compiles and fails.
///
/// # Errors
/// Lists every fault.
pub fn run() -> Result<()> {
    let _lock = work::lock()?;
    let mut all = Vec::new();
    for entry in course::exercises() {
        all.extend(faults(entry).into_iter().map(|fault| format!("{}: {fault}", entry.name)));
    }
    let entries: Vec<&Entry> = course::exercises().filter(|entry| entry.is_code()).collect();
    all.extend(stub_faults(&entries)?);
    for fault in &all {
        println!("{fault}");
    }
    ensure!(all.is_empty(), "{} faults", all.len());
    println!("exercises: {} are sound", course::exercises().count());
    Ok(())
}

/// Stubs that do not compile, or pass.
fn stub_faults(entries: &[&Entry]) -> Result<Vec<String>> {
    let folder = tempfile::tempdir_in(work::folder())?;
    let mut files = Vec::new();
    for entry in entries {
        let path = folder.path().join(format!("{}.rs", entry.name));
        std::fs::write(&path, entry.stub())?;
        files.push((*entry, path.to_string_lossy().into_owned()));
    }
    let files: Vec<(&Entry, &str)> = files.iter().map(|(entry, path)| (*entry, &**path)).collect();
    let program = match trial::compile(&trial::program_of(&files))? {
        Ok(program) => program,
        Err(message) => return Ok(vec![format!("a stub does not compile:\n{message}")]),
    };
    let verdicts = match trial::grade(&program)? {
        Ok((verdicts, _)) => verdicts,
        Err(message) => return Ok(vec![message]),
    };
    let passes = |(entry, verdict): (&&Entry, &crate::grading::GradeReport)| {
        (verdict.outcome == Outcome::Right).then(|| format!("{}: its stub passes", entry.name))
    };
    Ok(entries.iter().zip(&verdicts).filter_map(passes).collect())
}
