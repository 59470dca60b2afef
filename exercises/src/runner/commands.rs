//! The commands of `cargo x learn` apart from watching.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::screen::{self, Ink, ink};
use super::state::State;
use super::{process, trial, work};
use crate::course::{self, PARTS};
use crate::entry::{Entry, Task};
use crate::grading::{GradeReport, Measure, Outcome, Prediction, Run};

/// Exercise called `name`, or the next one.
///
/// # Errors
/// When there is none.
pub fn named(name: Option<&str>) -> Result<&'static Entry> {
    match name {
        Some(name) => course::find(name).with_context(|| {
            format!("there is no exercise {name}; `cargo x learn list` shows them all")
        }),
        None => State::read()?.next().context("all exercises are solved; name one"),
    }
}

/// Grades the learner's file of `entry`, and notes it.
///
/// # Errors
/// When another runner is grading, or the file cannot be read.
pub fn check(entry: &Entry) -> Result<GradeReport> {
    let name = entry.name;
    match entry.task {
        Task::Code { .. } => work::start(entry)?,
        Task::Predict(_) => bail!("{name} is a prediction: `cargo x learn predict {name}`"),
        Task::Measure(measure) => bail!("{name} is measured: `{}`", measure_line(entry, measure)),
    }
    let verdict = trial::trial(entry)?;
    note(entry, &verdict)?;
    Ok(verdict)
}

fn note(entry: &Entry, verdict: &GradeReport) -> Result<()> {
    State::update(|state| {
        let progress = state.of_mut(entry);
        progress.attempts += usize::from(verdict.outcome != Outcome::Unwritten);
        if verdict.is_right() {
            progress.standing = progress.standing.solved();
        }
    })
}

/// Reduces a part to its two gate exercises.
///
/// # Errors
/// When there is no such part.
pub fn skip(number: &str) -> Result<()> {
    let part = course::part(number).with_context(|| {
        let numbers: Vec<_> = PARTS.iter().map(|part| part.number).collect();
        format!("there is no part {number}; the parts are {}", numbers.join(", "))
    })?;
    let [first, second] = part.gates;
    let state = State::update(|state| {
        state.skipped.insert(part.number.to_string());
        state.clone()
    })?;
    match state.is_done(part) {
        true => println!("You have solved {first} and {second}: part {number} is behind you."),
        false => println!("Solve {first} and {second}, and part {number} is behind you."),
    }
    Ok(())
}

/// Makes all exercises of a part that was skipped count again.
///
/// # Errors
/// When there is no such part, or it was not skipped.
pub fn take_back_skip(number: &str) -> Result<()> {
    let part = course::part(number).with_context(|| format!("there is no part {number}"))?;
    let was_skipped = State::update(|state| state.skipped.remove(part.number))?;
    ensure!(was_skipped, "part {number} is not skipped");
    println!("All exercises of part {number} count again.");
    Ok(())
}

/// Runs the demo of a part with the learner's functions, where they are solved.
///
/// # Errors
/// When there is no demo, or another runner is grading.
pub fn demo(number: &str) -> Result<()> {
    let part = course::part(number).with_context(|| format!("there is no part {number}"))?;
    ensure!(!part.demo.is_empty(), "part {number} has no demo of your functions");
    let _lock = work::lock()?;
    let state = State::read()?;
    let (mut modules, mut arguments) = (String::new(), Vec::new());
    for name in part.demo {
        let entry = course::find(name).context("a test looks these names up")?;
        let module = entry.module();
        if state.is_solved(entry) && work::file(entry).exists() {
            println!("{} {name} is yours", ink("✓", Ink::Green));
            modules += &format!("#[allow(warnings)]\n#[path = {:?}]\nmod {name};\n", entry.path());
            arguments.push(format!("{name}::{name}"));
        } else {
            println!("  {name} is the course's");
            arguments.push(format!("exercises::{module}::{name}::{name}"));
        }
    }
    let call = format!("exercises::part_{number}::demo::run({})", arguments.join(", "));
    let program = format!(
        "{modules}\nfn main() {{\n    if let Err(error) = {call} {{\n        \
         println!(\"{{}}\", error.to_string().lines().next().unwrap_or_default());\n    }}\n}}\n"
    );
    let program = trial::compile(&program)?.map_err(anyhow::Error::msg)?;
    let limits =
        process::Limits { time: std::time::Duration::from_secs(120), ..process::Limits::LEARNER };
    let ended = process::run(&program, Path::new("demo"), limits)?;
    print!("{}", ended.printed);
    match ended.fault {
        Some(fault) => bail!("the demo: {fault}"),
        None => Ok(()),
    }
}

/// Judges typed answers to the questions of `entry`, and notes the verdict.
///
/// # Errors
/// When `entry` asks nothing, or their number differs.
pub fn predict(entry: &Entry, answers: &[String]) -> Result<GradeReport> {
    let Task::Predict(questions) = entry.task else { bail!("{} asks nothing", entry.name) };
    let questions = questions();
    if answers.len() != questions.len() {
        print_questions(entry, &questions);
        bail!(
            "{} answers instead of {}; give them in this order: {}",
            answers.len(),
            questions.len(),
            predict_line(entry, &questions)
        );
    }
    let verdict = judge_answers(&questions, answers);
    note(entry, &verdict)?;
    Ok(verdict)
}

/// Shows `entry`, which asks `questions`, and the command that answers them.
pub fn show_questions(entry: &Entry, questions: &[Prediction]) {
    print_questions(entry, questions);
    println!("\nAnswer them in this order: {}", predict_line(entry, questions));
}

fn print_questions(entry: &Entry, questions: &[Prediction]) {
    screen::head(entry);
    println!();
    for (i, question) in questions.iter().enumerate() {
        screen::say(&format!("{}. {}", i + 1, question.text()));
    }
}

/// Command that answers the `questions` of `entry`.
pub fn predict_line(entry: &Entry, questions: &[Prediction]) -> String {
    let answers = vec!["ANSWER"; questions.len()].join(" ");
    format!("cargo x learn predict {} {answers}", entry.name)
}

/// Verdict on `answers` to `questions`, in their order.
pub fn judge_answers<S: AsRef<str>>(questions: &[Prediction], answers: &[S]) -> GradeReport {
    let mut verdict = GradeReport::new(Outcome::Right, Vec::new());
    for (question, typed) in questions.iter().zip(answers) {
        let typed = typed.as_ref();
        match question.judge(typed) {
            Ok(because) => verdict.lines.push(format!("✓ {typed}: {because}")),
            Err(says) => {
                verdict.outcome = Outcome::Wrong;
                verdict.lines.push(format!("✗ {typed}: {says}"));
            }
        }
    }
    verdict
}

/// Judges the runs in `folders`, and notes the verdict. Where one is missing, the text of the
/// exercise is shown.
///
/// # Errors
/// When `entry` measures nothing, their number differs, or a folder is not a run's.
pub fn measure(entry: &Entry, folders: &[PathBuf]) -> Result<GradeReport> {
    let Task::Measure(measure) = entry.task else { bail!("{} measures nothing", entry.name) };
    let runs = open_runs(entry, measure, folders).inspect_err(|_| {
        screen::head(entry);
        println!();
    })?;
    let verdict = measure.judge(&runs);
    note(entry, &verdict)?;
    Ok(verdict)
}

/// Shows `entry`, which grades runs, and the command that does it.
pub fn show_measurement(entry: &Entry, measure: &Measure) {
    screen::head(entry);
    println!("\nThen: {}", measure_line(entry, measure));
}

/// Command that grades the runs of `entry`.
pub fn measure_line(entry: &Entry, measure: &Measure) -> String {
    format!("cargo x learn measure {} {}", entry.name, vec!["RUN"; measure.n_runs].join(" "))
}

fn open_runs(entry: &Entry, measure: &Measure, folders: &[PathBuf]) -> Result<Vec<Run>> {
    let (n, wanted) = (folders.len(), measure.n_runs);
    ensure!(
        n == wanted,
        "{n} runs instead of {wanted}; run the commands above, then give what they wrote, in this \
         order: {}",
        measure_line(entry, measure)
    );
    let missing = folders.iter().filter(|folder| !folder.exists());
    let missing: Vec<_> = missing.map(|folder| folder.display().to_string()).collect();
    ensure!(missing.is_empty(), "no run at {}; run the commands above first", missing.join(", "));
    folders.iter().map(|folder| Run::open(folder)).collect()
}
