//! `cargo x links`: checks the relative links of the Markdown files.
//!
//! A link's file must exist. A link to a line, [`sft_step`](crates/part_6_sft/src/step.rs#L20),
//! must lead to a line that contains the code in the link's text. `--write` corrects the line
//! numbers: the line is searched for a definition first (`fn sft_step`), then for the first
//! mention.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::repository::{self, has_extension, read};

/// Link of a Markdown file.
#[derive(Debug, PartialEq, Eq)]
struct Link<'a> {
    text: &'a str,
    /// File, relative to the Markdown file.
    file: &'a str,
    /// Line of `#L12`, counted from 1.
    line: Option<usize>,
    /// Byte range of the address in the Markdown file.
    range: (usize, usize),
}

/// Checks all links, or corrects their lines.
///
/// # Errors
/// Lists the links that lead nowhere.
pub(crate) fn check(root: &Path, write: bool) -> Result<()> {
    let mut broken = Vec::new();
    let mut n_links = 0;
    for path in repository::files(root)?.into_iter().filter(|path| has_extension(path, "md")) {
        let text = read(&root.join(&path))?;
        let mut corrected = text.clone();
        for link in links(&text).iter().rev() {
            n_links += 1;
            let target = root.join(&path).with_file_name(link.file);
            let name = format!(
                "{}: [{}]({})",
                path.display(),
                link.text,
                &text[link.range.0..link.range.1]
            );
            if !target.exists() {
                broken.push(format!("{name}: there is no such file"));
                continue;
            }
            let Some(line) = link.line else { continue };
            let source = read(&target).with_context(|| name.clone())?;
            match line_of(&source, link.text) {
                None => broken.push(format!("{name}: the file does not contain this text")),
                Some(right) if write => {
                    let address = format!("{}#L{right}", link.file);
                    corrected.replace_range(link.range.0..link.range.1, &address);
                }
                Some(right) if right != line => {
                    broken.push(format!("{name}: it is in line {right} (cargo x links --write)"));
                }
                Some(_) => {}
            }
        }
        if corrected != text {
            fs::write(root.join(&path), corrected).with_context(|| path.display().to_string())?;
        }
    }
    ensure!(broken.is_empty(), "broken links:\n  {}", broken.join("\n  "));
    println!("links: {n_links} relative links lead to their files and lines");
    Ok(())
}

/// Line of `source`, counted from 1, that defines `text`, or else the first that contains it.
fn line_of(source: &str, text: &str) -> Option<usize> {
    let text = text.trim_matches('`').trim_end_matches("()");
    let defines = |line: &str| {
        ["fn ", "struct ", "enum ", "const ", "type ", "trait "].iter().any(|keyword| {
            line.split_once(&format!("{keyword}{text}")).is_some_and(|(_, rest)| {
                !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
            })
        })
    };
    let find = |is_right: &dyn Fn(&str) -> bool| source.lines().position(is_right);
    find(&defines).or_else(|| find(&|line| line.contains(text))).map(|index| index + 1)
}

/// Relative links of the Markdown text, outside code blocks.
fn links(text: &str) -> Vec<Link<'_>> {
    let (mut links, mut at, mut in_block) = (Vec::new(), 0, false);
    for line in text.split_inclusive('\n') {
        in_block ^= line.trim_start().starts_with("```");
        let mut from = 0;
        while let Some(middle) = line[from..].find("](").map(|middle| from + middle) {
            from = middle + 2;
            let Some(end) = line[from..].find(')').map(|end| from + end) else { break };
            let (start, address) = (line[..middle].rfind('['), &line[from..end]);
            let is_relative = !address.contains("://") && !address.starts_with(['#', '<']);
            if let (Some(start), true) = (start, is_relative && !in_block) {
                let (file, anchor) = address.split_once('#').unwrap_or((address, ""));
                let line_number = anchor.strip_prefix('L').and_then(|line| line.parse().ok());
                let (text, range) = (&line[start + 1..middle], (at + from, at + end));
                links.push(Link { text, file, line: line_number, range });
            }
            from = end;
        }
        at += line.len();
    }
    links
}

#[cfg(test)]
mod tests {
    use super::{Link, line_of, links};

    #[test]
    fn relative_links_are_found_outside_code_blocks() {
        let text =
            "See [`run`](a.rs#L3), [x](https://x.y).\n```\n[no](b.rs)\n```\n[c](d/e.md#top)\n";
        let found = links(text);
        let [run, c] = &found[..] else { panic!("{found:?}") };
        assert_eq!((run.text, run.file, run.line), ("`run`", "a.rs", Some(3)));
        assert_eq!(&text[run.range.0..run.range.1], "a.rs#L3");
        assert_eq!(*c, Link { text: "c", file: "d/e.md", line: None, range: c.range });
    }

    #[test]
    fn a_line_is_that_of_the_definition_or_else_of_the_first_mention() {
        let source = "use x::step;\n// step\npub fn step_all() {}\npub(crate) fn step(a: u8) {}\n";
        assert_eq!(line_of(source, "`step`"), Some(4));
        assert_eq!(line_of(source, "`step_all()`"), Some(3));
        assert_eq!(line_of(source, "use x"), Some(1));
        assert_eq!(line_of(source, "`absent`"), None);
    }
}
