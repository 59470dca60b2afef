//! `cargo x learn rustlings DIR`: a folder for the `rustlings` program, version 6, in the format of
//! its community exercises: `info.toml`, `Cargo.toml`, and a file of each exercise and solution.
//!
//! The files link to this crate, which grades them in a test. Measurements need runs and stay here.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::work;
use crate::course;
use crate::entry::{Entry, Task};
use crate::source::solution;

/// Crates that a learner's file may use, as in the package `learner`.
const DEPENDENCIES: [&str; 7] =
    ["attention", "candle-core", "exercises", "grpo", "ppo", "tensor_core", "tiny_gpt"];

/// Exercise as `rustlings` has it.
struct Exported {
    name: &'static str,
    folder: String,
    hint: String,
    exercise: String,
    solution: String,
}

/// Writes the folder `path`, and returns the number of its exercises.
///
/// # Errors
/// When there is something in the folder already, or it cannot be written.
pub fn export(path: &Path) -> Result<usize> {
    let is_empty = match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => bail!("{} is not a folder: {error}", path.display()),
    };
    ensure!(is_empty, "{} is not empty; name another folder", path.display());
    let exported: Vec<Exported> = course::exercises().filter_map(Exported::new).collect();
    let write = |file: PathBuf, text: &str| {
        let folder = file.parent().unwrap_or(path);
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
    };
    for exercise in &exported {
        let file = |kind: &str| {
            path.join(kind).join(&exercise.folder).join(format!("{}.rs", exercise.name))
        };
        write(file("exercises"), &exercise.exercise)?;
        write(file("solutions"), &exercise.solution)?;
    }
    let root = work::root();
    let root = root.canonicalize().with_context(|| format!("finding {}", root.display()))?;
    write(path.join("info.toml"), &info(&exported)?)?;
    write(path.join("Cargo.toml"), &manifest(&exported, &root)?)?;
    write(path.join(".gitignore"), ".rustlings-state.txt\ntarget\n")?;
    // The versions that are compiled already.
    let lock = fs::read_to_string(root.join("Cargo.lock")).context("reading Cargo.lock")?;
    write(path.join("Cargo.lock"), &lock)?;
    write(path.join("rust-toolchain.toml"), &toolchain(&root)?)?;
    Ok(exported.len())
}

impl Exported {
    /// Files of `entry`; `None` for a measurement.
    fn new(entry: &'static Entry) -> Option<Self> {
        let head = entry.head();
        let mut hint = format!("{}\n", head.hints.join("\n"));
        for place in entry.places() {
            hint.push_str(&format!("Read {place}\n"));
        }
        let (name, folder) = (entry.name, entry.module());
        let (exercise, solution) = match entry.task {
            Task::Code { .. } => {
                let graded =
                    graded(&format!("exercises::{folder}::{name}::GRADE.judge(super::{name})"));
                let tail = format!("\nfn main() {{\n    let _ = {name};\n}}\n{graded}");
                let learner = comments_of(&entry.stub());
                (format!("{learner}{tail}"), format!("{}{tail}", solution(entry.source)))
            }
            Task::Predict(questions) => {
                let questions = questions();
                let file = |answers: &[String]| {
                    let cells = questions.iter().zip(answers).map(|(question, answer)| {
                        let text = question.text();
                        let lines = text.lines().map(|line| format!("    // {line}\n"));
                        format!("{}    {answer:?},\n", lines.collect::<String>())
                    });
                    let n = questions.len();
                    let cells: String = cells.collect();
                    let graded = graded(&format!(
                        "exercises::child::judge_answers({name:?}, &super::ANSWERS)"
                    ));
                    format!(
                        "/// Answers: a number, or a letter.\nconst ANSWERS: [&str; {n}] = \
                         [\n{cells}];\n\nfn main() {{\n    let _ = ANSWERS;\n}}\n{graded}"
                    )
                };
                let empty = vec![String::new(); questions.len()];
                let right: Vec<String> = questions.iter().map(|q| q.right_answer()).collect();
                let text = comments_of(&entry.stub());
                (format!("{}\n{}", head_of(&text), file(&empty)), file(&right))
            }
            Task::Measure(_) => return None,
        };
        Some(Self { name, folder, hint, exercise, solution })
    }
}

/// Test that fails with the lines of the verdict `call`.
fn graded(call: &str) -> String {
    format!(
        "\n#[cfg(test)]\nmod tests {{\n    #[test]\n    fn graded() {{\n        \
         exercises::child::assert_right(&{call});\n    }}\n}}\n"
    )
}

/// `text` with its head as plain comments, the first of which says that there is something to do.
fn comments_of(text: &str) -> String {
    let text: String =
        text.lines().map(|line| format!("{}\n", line.replacen("//!", "//", 1))).collect();
    text.replacen("// ", "// TODO ", 1)
}

/// Comments at the beginning of `text`.
fn head_of(text: &str) -> String {
    let lines = text.lines().take_while(|line| line.starts_with("//"));
    lines.map(|line| format!("{line}\n")).collect()
}

fn info(exported: &[Exported]) -> Result<String> {
    let mut text = String::from(
        "format_version = 1\n\nwelcome_message = \"LLM from Scratch, in Rust: graded exercises. \
         The first build takes some minutes.\"\nfinal_message = \"All are solved. The measurements \
         are left: `cargo x learn list` in the course's own folder.\"\n",
    );
    for exercise in exported {
        // A JSON string is a basic string of TOML.
        let hint = serde_json::to_string(&exercise.hint)?;
        text.push_str(&format!(
            "\n[[exercises]]\nname = \"{}\"\ndir = \"{}\"\nhint = {hint}\n",
            exercise.name, exercise.folder
        ));
    }
    Ok(text)
}

/// Cargo.toml, whose list `bin` is byte for byte that of `rustlings dev update`.
fn manifest(exported: &[Exported], root: &Path) -> Result<String> {
    let mut bins = String::from("\n");
    for Exported { name, folder, .. } in exported {
        bins.push_str(&format!(
            "  {{ name = \"{name}\", path = \"exercises/{folder}/{name}.rs\" }},\n  \
             {{ name = \"{name}_sol\", path = \"solutions/{folder}/{name}.rs\" }},\n"
        ));
    }
    let ours = fs::read_to_string(root.join("Cargo.toml")).context("reading Cargo.toml")?;
    let mut dependencies = String::new();
    for name in DEPENDENCIES {
        let line = ours.lines().find(|line| line.starts_with(&format!("{name} = ")));
        let line = line.with_context(|| format!("Cargo.toml has no line for {name}"))?;
        let absolute = format!("path = \"{}/", root.display());
        dependencies.push_str(&format!("{}\n", line.replace("path = \"", &absolute)));
    }
    let profile = ours.find("[profile.dev]").map_or("", |at| &ours[at..]);
    let profile = profile.lines().filter(|line| !line.starts_with("learner = "));
    let profile: String = profile.map(|line| format!("{line}\n")).collect();
    Ok(format!(
        "# The list is updated by `rustlings dev update`\nbin = [{bins}]\n\n[package]\nname = \
         \"llm_exercises\"\nedition = \"2024\"\npublish = false\n\n[dependencies]\n\
         {dependencies}\n[workspace]\n\n{profile}"
    ))
}

fn toolchain(root: &Path) -> Result<String> {
    fs::read_to_string(root.join("rust-toolchain.toml")).context("reading rust-toolchain.toml")
}
