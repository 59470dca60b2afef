//! `cargo x readmes`: whether every command that a README shows is one that `.ci/run` runs.
//!
//! Run means: the same program and subcommand with at least the flags that the README shows; their values may be smaller, so
//! that a run which takes a user minutes takes CI seconds. What is no `cargo run` is named here with who runs it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Other commands than `cargo run` by how they begin, and where they are run.
const ELSEWHERE: [(&str, &str); 3] = [
    ("cargo test", "`cargo x check` runs all tests"),
    ("cargo bench", "`.ci/run` runs each benchmark once"),
    ("cargo x compare", "needs PyTorch; its pieces are tested"),
];

/// A `cargo run`: its program, then its subcommand if it has one, and its flags.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    program: Vec<String>,
    flags: BTreeSet<String>,
}

/// # Errors
/// Names each command that nothing runs.
pub(crate) fn check(root: &Path) -> Result<()> {
    let ci = read(&root.join(".ci/run"))?;
    let run: Vec<Shown> = ci.lines().filter_map(shown).collect();
    ensure!(!run.is_empty(), ".ci/run runs nothing");
    let mut missing = Vec::new();
    for path in readmes(root)? {
        let text = read(&path)?;
        for line in commands(&text).filter(|line| !is_run(line, &run)) {
            missing.push(format!("{}: {line}", path.strip_prefix(root).unwrap_or(&path).display()));
        }
    }
    ensure!(
        missing.is_empty(),
        "nothing in .ci/run runs, with these flags:\n  {}",
        missing.join("\n  ")
    );
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// The README of the project, and those of its folders.
fn readmes(root: &Path) -> Result<Vec<PathBuf>> {
    let mut all = vec![root.join("README.md")];
    for entry in fs::read_dir(root.join("crates"))?.chain(fs::read_dir(root)?) {
        let readme = entry?.path().join("README.md");
        if readme.is_file() {
            all.push(readme);
        }
    }
    Ok(all)
}

/// The lines of the `sh` blocks of `text` that call cargo, without their comments.
fn commands(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().filter_map(move |line| {
        if line.starts_with("```") {
            inside = line == "```sh";
        }
        let command = line.split(" #").next().unwrap_or_default().trim();
        (inside && command.contains("cargo ")).then_some(command)
    })
}

fn is_run(line: &str, run: &[Shown]) -> bool {
    let Some(Shown { program, flags }) = shown(line) else {
        return ELSEWHERE.iter().any(|(begin, _)| line.starts_with(begin));
    };
    flags.contains("--help")
        || run.iter().any(|other| other.program == program && flags.is_subset(&other.flags))
}

/// What the line runs, if it is a `cargo run`.
fn shown(line: &str) -> Option<Shown> {
    let (_, line) = line.split_once("cargo run ")?;
    let (cargo, program) = line.split_once(" -- ").unwrap_or((line, ""));
    let mut words = cargo.split_whitespace();
    words.find(|word| ["-p", "--example"].contains(word))?;
    let mut names = vec![words.next()?.to_string()];
    let mut words = program.split_whitespace().peekable();
    names.extend(words.next_if(|word| !word.starts_with('-')).map(String::from));
    let flags = words.filter(|word| word.starts_with("--"));
    let flags = flags.map(|flag| flag.split('=').next().unwrap_or(flag).to_string()).collect();
    Some(Shown { program: names, flags })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_run_where_its_flags_are() {
        let ci =
            ["cargo run --release -p part_6 -- train --steps 5 --data everyday --out x # short"];
        let run: Vec<Shown> = ci.iter().filter_map(|line| shown(line)).collect();
        assert!(is_run("cargo run --release -p part_6 -- train --data my.jsonl", &run));
        assert!(!is_run("cargo run --release -p part_6 -- train --merge", &run));
        assert!(!is_run("cargo run --release -p part_6 -- eval --data my.jsonl", &run));
        assert!(!is_run("cargo run --release -p part_6", &run));
        assert!(!is_run("cargo build", &run));
        assert!(is_run("cargo test -p part_6", &run));
    }

    #[test]
    fn only_what_stands_in_a_shell_block_is_a_command() {
        let text =
            "cargo run -p a\n```sh\ncargo run -p b   # why\n```\n```text\ncargo run -p c\n```\n";
        assert_eq!(commands(text).collect::<Vec<_>>(), ["cargo run -p b"]);
    }
}
