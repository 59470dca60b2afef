//! A trial: the learner's file is compiled with a call of its grader, and run with limits.
//!
//! The program is the package `learner`, whose one file includes `work/main.rs`. It links to this
//! crate, which holds the graders, so a save compiles the learner's lines and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use tensor_core::atomic_file;

use super::process::{self, Limits};
use super::work;
use crate::entry::Entry;
use crate::grading::{GradeReport, Outcome};
use crate::source::changed_lines;

/// Lines of the compiler and of the learner's output that are shown.
const MAX_LINES: usize = 20;

/// Verdict on the learner's file of `entry`.
///
/// # Errors
/// When cargo or the program cannot be started. Faults of the learner's code are verdicts.
pub fn trial(entry: &Entry) -> Result<GradeReport> {
    let path = work::file(entry);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    if let Some(line) = too_many_changes(entry, &text) {
        return Ok(refused(&[&line]));
    }
    let program = match compile(&program_of(&[(entry, &entry.path())]))? {
        Ok(program) => program,
        Err(message) => return Ok(refused(&[&message])),
    };
    Ok(match grade(&program)? {
        Ok((mut verdicts, printed)) => {
            let mut verdict = verdicts.remove(0);
            if !printed.is_empty() {
                verdict.lines.push("Your code prints:".to_string());
                verdict.lines.extend(first_lines(&printed));
            }
            verdict
        }
        Err(message) => refused(&[&message]),
    })
}

/// Line that refuses `text` as the file of `entry`, if it changes more lines than its kind allows.
pub(super) fn too_many_changes(entry: &Entry, text: &str) -> Option<String> {
    let limit = entry.head().kind.max_changed_lines()?;
    let changed = changed_lines(&entry.stub(), text);
    let name = entry.name;
    (changed > limit).then(|| {
        format!(
            "{changed} lines differ from the file as it was; {limit} may (`cargo x learn reset \
             {name}` brings it back)"
        )
    })
}

fn refused(messages: &[&str]) -> GradeReport {
    let lines = messages.iter().flat_map(|message| message.lines().map(String::from));
    GradeReport::new(Outcome::Wrong, lines.collect())
}

/// Program that grades files of the work folder, each the answer to an exercise.
pub fn program_of(files: &[(&Entry, &str)]) -> String {
    let mut modules = String::new();
    let mut calls = String::new();
    for (entry, path) in files {
        let (part, name) = (entry.module(), entry.name);
        modules += &format!("#[allow(warnings, clippy::all)]\n#[path = {path:?}]\nmod {name};\n");
        calls += &format!("        exercises::{part}::{name}::GRADE.judge({name}::{name}),\n");
    }
    format!(
        "{modules}\nfn main() {{\n    exercises::child::report_all(|| vec![\n{calls}    ]);\n}}\n"
    )
}

/// Compiles `program` as `work/main.rs`: the program's file, or what the compiler says.
///
/// # Errors
/// When cargo cannot be started.
pub fn compile(program: &str) -> Result<Result<PathBuf, String>> {
    atomic_file::write(&work::folder().join("main.rs"), program.as_bytes())?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo
        .args(["build", "--quiet", "--package", "learner", "--features", "work"])
        .args(["--color", "never"])
        .current_dir(work::root());
    let (done, waits) = mpsc::channel::<()>();
    let output = thread::scope(|scope| {
        scope.spawn(move || {
            if waits.recv_timeout(Duration::from_secs(5)) == Err(RecvTimeoutError::Timeout) {
                eprintln!("compiling; after a change to the course this takes some minutes");
            }
        });
        let output = cargo.output();
        drop(done);
        output
    });
    let output = output.context("starting cargo")?;
    if !output.status.success() {
        return Ok(Err(first_error(&String::from_utf8_lossy(&output.stderr))));
    }
    let mut path = std::env::current_exe().context("finding the runner's folder")?;
    path.set_file_name(format!("learner{}", std::env::consts::EXE_SUFFIX));
    Ok(Ok(path))
}

/// Runs the compiled `program`: its verdicts and what it printed, or why it has none.
///
/// # Errors
/// When it cannot be started.
pub fn grade(program: &Path) -> Result<Result<(Vec<GradeReport>, String), String>> {
    let path = work::folder().join("verdict.json");
    if path.exists() {
        fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    }
    let ended = process::run(program, &path, Limits::LEARNER)?;
    if let Some(fault) = ended.fault {
        let printed = first_lines(&ended.printed).join("\n");
        return Ok(Err(format!("Your code has no verdict: {fault}\n{printed}")));
    }
    let verdicts = tensor_core::json_file::read(&path)
        .and_then(|value| serde_json::from_value(value).context("reading the verdict"));
    Ok(match verdicts {
        Ok(verdicts) => Ok((verdicts, ended.printed)),
        Err(_) => Err("Your code ended the program before the verdict".to_string()),
    })
}

fn first_lines(text: &str) -> Vec<String> {
    let text = experiment::terminal::printable(text);
    let mut lines: Vec<String> =
        text.lines().take(MAX_LINES).map(|line| line.chars().take(200).collect()).collect();
    if text.lines().count() > MAX_LINES {
        lines.push("...".to_string());
    }
    lines
}

/// First error of the compiler's messages, with the learner's own path.
pub(super) fn first_error(messages: &str) -> String {
    let messages = messages.replace("exercises/learner/src/../../work/", "exercises/work/");
    let is_error = |line: &&str| line.starts_with("error");
    let from = messages.lines().position(|line| is_error(&line)).unwrap_or(0);
    let error = messages.lines().skip(from).take_while(|line| !line.is_empty());
    let n_errors = messages.lines().filter(is_error).count().saturating_sub(1); // the last sums up
    let mut lines: Vec<&str> = error.take(MAX_LINES).collect();
    let more = match n_errors {
        0 | 1 => String::new(),
        2 => "and 1 more error".to_string(),
        n => format!("and {} more errors", n - 1),
    };
    if n_errors > 1 {
        lines.push(&more);
    }
    lines.join("\n")
}
