//! `cargo x words`: the vocabulary of GLOSSARY.md, held by a machine.
//!
//! Four rules, each reported with file and line: a name that was retired (`retired-names.txt`) is
//! not used; a line is at most 100 columns wide; a doc comment opens with the quantity it names, so
//! not with "What ..." or "The same."; an identifier of the glossary exists in the code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use regex::Regex;

use crate::repository::{self, has_extension, read};
use crate::rust_text::{code_only, without_comments};

/// Longest line of code, comments and prose, in columns.
const MAX_COLUMNS: usize = 100;
/// Openings that leave the reader without the name of the quantity.
const RIDDLES: [&str; 10] = [
    "What ",
    "What's ",
    "How ",
    "How.",
    "Of ",
    "The same.",
    "The same ",
    "Which ",
    "Whose ",
    "At what",
];
const EXTENSIONS: [&str; 6] = ["rs", "md", "py", "yaml", "toml", "txt"];
const GLOSSARY: &str = "GLOSSARY.md";
const RETIRED: &str = "retired-names.txt";

/// Checks all files under `root`.
///
/// # Errors
/// Lists every offence with its file and line.
pub(crate) fn check(root: &Path) -> Result<()> {
    let retired = Retired::parse(&read(&root.join(RETIRED))?)?;
    let mut files = BTreeMap::new();
    for path in repository::files(root)?.into_iter().filter(|path| is_checked(path)) {
        let text = read(&root.join(&path))?;
        files.insert(path, text);
    }
    let mut offences = Vec::new();
    for (path, text) in &files {
        offences.extend(long_lines(path, text));
        offences.extend(riddles(path, text));
        offences.extend(retired.uses(path, text));
    }
    let glossary = files.get(Path::new(GLOSSARY)).context("GLOSSARY.md is missing")?;
    offences.extend(missing_identifiers(glossary, &files));
    ensure!(offences.is_empty(), "{} offences:\n{}", offences.len(), offences.join("\n"));
    Ok(())
}

/// True for sources, prose, scripts and settings outside the vendored data.
fn is_checked(path: &Path) -> bool {
    let is_data = path.iter().any(|folder| folder == "data");
    path == Path::new(".ci/run")
        || !is_data && EXTENSIONS.iter().any(|extension| has_extension(path, extension))
}

fn offence(path: &Path, line: usize, what: &str) -> String {
    format!("{}:{}: {what}", path.display(), line + 1)
}

/// Lines over [`MAX_COLUMNS`] characters; tables of Markdown and addresses may be longer.
fn long_lines(path: &Path, text: &str) -> Vec<String> {
    let exempt = |line: &str| line.trim_start().starts_with('|') || line.contains("://");
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| line.chars().count() > MAX_COLUMNS && !exempt(line))
        .map(|(at, line)| {
            let columns = line.chars().count();
            offence(path, at, &format!("{columns} columns are more than {MAX_COLUMNS}"))
        })
        .collect()
}

/// Doc comments of Rust whose first line opens like a riddle.
fn riddles(path: &Path, text: &str) -> Vec<String> {
    let mut before = "";
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|_| has_extension(path, "rs")) {
        let line = line.trim_start();
        let doc = |line: &str| line.strip_prefix("///").map(str::trim_start).map(str::to_string);
        if let (Some(text), None) = (doc(line), doc(before))
            && RIDDLES.iter().any(|riddle| text.starts_with(riddle))
        {
            found.push(offence(path, at, &format!("a doc comment that opens with \"{text}\"")));
        }
        before = line;
    }
    found
}

/// Names that are not used any more, each with the name that took its place.
struct Retired(BTreeMap<String, String>);

impl Retired {
    /// Reads lines `old -> new`; `old` is an identifier, a flag (`--old`) or a JSON key (`"old"`).
    fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let pairs = lines.map(|line| {
            let (old, new) =
                line.split_once(" -> ").with_context(|| format!("{RETIRED}: {line}"))?;
            Ok((old.trim().to_string(), new.trim().to_string()))
        });
        Ok(Self(pairs.collect::<Result<_>>()?))
    }

    /// Uses of a retired name: identifiers in Rust code, flags and keys anywhere but in a comment
    /// of Rust. A line that declares an alias may name it.
    fn uses(&self, path: &Path, text: &str) -> Vec<String> {
        if path == Path::new(RETIRED) {
            return Vec::new();
        }
        let word = Regex::new(r#"--[a-z][a-z0-9-]*|"[a-z][a-z0-9_-]*"|\b[A-Za-z_]\w*"#)
            .expect("the pattern is valid");
        let (code, strings) = match has_extension(path, "rs") {
            true => (code_only(text), without_comments(text)),
            false => (String::new(), text.to_string()),
        };
        let mut found = Vec::new();
        for (at, ((line, code), strings)) in text
            .lines()
            .zip(code.lines().chain(std::iter::repeat("")))
            .zip(strings.lines())
            .enumerate()
        {
            if line.contains("alias") {
                continue;
            }
            let names = word.find_iter(code).chain(
                word.find_iter(strings)
                    .filter(|name| !name.as_str().starts_with(char::is_alphabetic)),
            );
            for name in names {
                if let Some(new) = self.0.get(name.as_str()) {
                    found.push(offence(path, at, &format!("{} is now {new}", name.as_str())));
                }
            }
        }
        found
    }
}

/// Identifiers of the glossary's table (`sft::ChatTokenizer`, in backticks in its fourth column)
/// that their crate does not define.
fn missing_identifiers(glossary: &str, files: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let path = Regex::new(r"`([a-z_]\w*(?:::\w+)+)`").expect("the pattern is valid");
    let mut found = Vec::new();
    for (at, line) in glossary.lines().enumerate().filter(|(_, line)| line.starts_with('|')) {
        let column = line.split('|').nth(4).unwrap_or_default();
        for identifier in path.captures_iter(column).map(|groups| groups[1].to_string()) {
            let (library, rest) = identifier.split_once("::").expect("the pattern has it");
            let code = code_of(library, files);
            let missing = rest.split("::").any(|name| !is_defined(name, &code));
            if code.is_empty() || missing {
                let what = format!("`{identifier}` is in the glossary and not in the code");
                found.push(offence(Path::new(GLOSSARY), at, &what));
            }
        }
    }
    found
}

/// Code of the crate whose library is called `library`: `part_6_sft` for `sft`.
fn code_of(library: &str, files: &BTreeMap<PathBuf, String>) -> String {
    let of_crate = |path: &Path| {
        let mut parts = path.components().map(|part| part.as_os_str().to_string_lossy());
        let (folder, name, src) = (parts.next(), parts.next(), parts.next());
        let name = name.unwrap_or_default();
        let numbered = name.strip_prefix("part_").and_then(|name| name.split_once('_'));
        let stripped = numbered.map(|(_, stripped)| stripped);
        folder.is_some_and(|folder| folder == "crates")
            && src.is_some_and(|src| src == "src")
            && stripped.unwrap_or(&name) == library
    };
    let sources = files.iter().filter(|(path, _)| has_extension(path, "rs") && of_crate(path));
    sources.map(|(_, text)| code_only(text)).collect()
}

/// Whether `code` defines `name` as an item, a field, a variant or a module.
fn is_defined(name: &str, code: &str) -> bool {
    let item = format!(r"\b(?:fn|struct|enum|trait|type|const|static|mod)\s+{name}\b");
    let member = format!(r"(?m)^\s*(?:pub(?:\([a-z]+\))?\s+)?{name}\s*(?:[:,({{]|$)");
    [item, member]
        .iter()
        .any(|pattern| Regex::new(pattern).expect("a name makes a valid pattern").is_match(code))
}

#[cfg(test)]
mod tests;
