//! `cargo x readmes`: checks that `.ci/run` runs every command shown in a README or in the book.
//!
//! A command counts as run if `.ci/run` has the same program and subcommand with at least its
//! flags. The values may differ, so that a run of minutes takes seconds in CI. Commands other than
//! `cargo run` are listed here.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::repository::{self, has_extension, read};

/// Prefixes of other commands that READMEs may show, and the place where they run.
const OTHER_COMMANDS: [(&str, &str); 9] = [
    ("cargo test", "`cargo x check` runs all tests"),
    ("cargo bench", "`.ci/run` runs each benchmark once"),
    ("cargo x book", "`.ci/run` builds the book"),
    ("cargo x figures", "a test compares the figures with the committed ones"),
    ("cargo x exercises", "`.ci/run` runs it"),
    ("cargo x learn", "`.ci/run` runs it once without a terminal, where it prints a list"),
    ("cargo x compare", "needs PyTorch; its parts are tested"),
    ("cargo install cargo-fuzz", "needs the network"),
    ("cargo +nightly fuzz", "needs a nightly compiler, and hours"),
];

/// A `cargo run` command: its program and subcommand, and the names of its flags.
#[derive(Debug, PartialEq, Eq)]
struct RunCommand {
    program: Vec<String>,
    flags: BTreeSet<String>,
}

/// # Errors
/// When `.ci/run` lacks a command; the message lists all of them.
pub(crate) fn check(root: &Path) -> Result<()> {
    let ci = read(&root.join(".ci/run"))?;
    let ci = join_continued_lines(&ci);
    let ci_commands: Vec<RunCommand> = ci.lines().filter_map(parse_command).collect();
    ensure!(!ci_commands.is_empty(), ".ci/run has no `cargo run` command");
    let mut missing = Vec::new();
    for path in repository::files(root)?.into_iter().filter(|path| shows_commands(path)) {
        let text = join_continued_lines(&read(&root.join(&path))?);
        for line in commands(&text).filter(|line| !is_run(line, &ci_commands)) {
            missing.push(format!("{}: {line}", path.display()));
        }
    }
    ensure!(
        missing.is_empty(),
        "add these commands to .ci/run, with at least these flags:\n  {}",
        missing.join("\n  ")
    );
    Ok(())
}

/// True for READMEs and for chapters of the book; the log has commands of long runs.
fn shows_commands(path: &Path) -> bool {
    let is_chapter = path.parent() == Some(Path::new("book/src")) && has_extension(path, "md");
    path.ends_with("README.md") || is_chapter && !path.ends_with("log.md")
}

/// Joins lines that end with a backslash to the next line.
fn join_continued_lines(text: &str) -> String {
    text.replace("\\\n", " ")
}

/// Lines of the `sh` blocks of `text` that call cargo, without comments.
fn commands(text: &str) -> impl Iterator<Item = &str> {
    let mut in_block = false;
    text.lines().filter_map(move |line| {
        if line.starts_with("```") {
            in_block = line == "```sh";
        }
        let command = line.split(" #").next().unwrap_or_default().trim();
        (in_block && command.contains("cargo ")).then_some(command)
    })
}

/// True if one of `ci_commands` covers the command `line`.
fn is_run(line: &str, ci_commands: &[RunCommand]) -> bool {
    let Some(RunCommand { program, flags }) = parse_command(line) else {
        return OTHER_COMMANDS.iter().any(|(prefix, _)| line.starts_with(prefix));
    };
    flags.contains("--help")
        || ci_commands.iter().any(|other| other.program == program && flags.is_subset(&other.flags))
}

/// Parses a `cargo run` command; `None` for other lines.
fn parse_command(line: &str) -> Option<RunCommand> {
    let (_, line) = line.split_once("cargo run ")?;
    let (cargo_args, program_args) = line.split_once(" -- ").unwrap_or((line, ""));
    let mut words = cargo_args.split_whitespace();
    words.find(|word| ["-p", "--example"].contains(word))?;
    let mut program_and_subcommand = vec![words.next()?.to_string()];
    let mut words = program_args.split_whitespace().peekable();
    program_and_subcommand.extend(words.next_if(|word| !word.starts_with('-')).map(String::from));
    let flags = words.filter(|word| word.starts_with("--"));
    let flags = flags.map(|flag| flag.split('=').next().unwrap_or(flag).to_string()).collect();
    Some(RunCommand { program: program_and_subcommand, flags })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_needs_its_program_subcommand_and_flags_in_ci() {
        let ci = "cargo run -p part_6 -- train --steps 5 --data everyday --out x # short";
        let ci_commands: Vec<RunCommand> = ci.lines().filter_map(parse_command).collect();
        assert!(is_run("cargo run -p part_6 -- train --data my.jsonl", &ci_commands));
        assert!(!is_run("cargo run -p part_6 -- train --merge", &ci_commands));
        assert!(!is_run("cargo run -p part_6 -- eval --data my.jsonl", &ci_commands));
        assert!(!is_run("cargo run -p part_6", &ci_commands));
        assert!(!is_run("cargo build", &ci_commands));
        assert!(is_run("cargo test -p part_6", &ci_commands));
    }

    #[test]
    fn only_lines_of_shell_blocks_are_commands() {
        let text =
            "cargo run -p a\n```sh\ncargo run -p b   # why\n```\n```text\ncargo run -p c\n```\n";
        assert_eq!(commands(text).collect::<Vec<_>>(), ["cargo run -p b"]);
    }

    #[test]
    fn a_continued_line_is_one_command() {
        let text = join_continued_lines("```sh\ncargo run -p a -- train \\\n  --steps 5\n```\n");
        let command = commands(&text).next().and_then(parse_command).expect("a command");
        assert_eq!(command.program, ["a", "train"]);
        assert!(command.flags.contains("--steps"));
    }
}
