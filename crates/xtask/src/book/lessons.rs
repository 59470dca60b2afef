//! Lesson or supporting file: a file of a part whose first line begins with the number of a
//! section, `//! 8.4 Rewards`, is a lesson; all others are supporting files.
//!
//! The number is where a reader sees it first, and it cannot be forgotten in a list elsewhere. What
//! it promises is checked: a lesson is of its own part and in the reading order of the part's
//! README, and what the book shows of a part is a lesson.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::repository::{self, has_extension, read};

/// Lessons and supporting files of all parts.
#[derive(Debug, Default)]
pub(super) struct PartFiles {
    /// Lessons, relative to the root of the repository.
    lessons: Vec<PathBuf>,
    n_lesson_lines: usize,
    n_supporting_files: usize,
    n_supporting_lines: usize,
}

impl PartFiles {
    /// Reads the first lines of the files of all parts below `root`, and adds what is wrong with
    /// them to `faults`.
    pub(super) fn read(root: &Path, faults: &mut Vec<String>) -> Result<Self> {
        let mut part_files = Self::default();
        for path in repository::files(root)?.into_iter().filter(|path| is_source(path)) {
            let text = read(&root.join(&path))?;
            let n_lines = text.lines().count();
            let Some(section) = section(&text) else {
                part_files.n_supporting_files += 1;
                part_files.n_supporting_lines += n_lines;
                continue;
            };
            let part: PathBuf = path.iter().take(2).collect(); // crates/part_8_ppo
            let prefix = section.split('.').next().unwrap_or_default();
            if !part.to_string_lossy().contains(&format!("part_{prefix}_")) {
                faults.push(format!("{}: section {section} is of another part", path.display()));
            }
            let name: PathBuf = path.iter().skip(2).collect(); // src/gae.rs
            let readme = read(&root.join(&part).join("README.md"))?;
            if !readme.contains(&format!("]({})", name.display())) {
                let readme = part.join("README.md");
                let fault = "is a lesson, and not in the reading order of";
                faults.push(format!("{} {fault} {}", path.display(), readme.display()));
            }
            part_files.lessons.push(path);
            part_files.n_lesson_lines += n_lines;
        }
        Ok(part_files)
    }

    /// True if the book may show the file at `path`, relative to the root: a lesson, or a file of
    /// no part.
    pub(super) fn may_be_shown(&self, path: &Path) -> bool {
        !is_source(path) || self.lessons.iter().any(|lesson| lesson == path)
    }

    /// Number of files and lines of both kinds, in words.
    pub(super) fn summary(&self) -> String {
        let Self { lessons, n_lesson_lines, n_supporting_files, n_supporting_lines } = self;
        format!(
            "{} lessons with {n_lesson_lines} lines, {n_supporting_files} supporting files with \
             {n_supporting_lines}",
            lessons.len()
        )
    }
}

/// True for a source file of a part, tests aside.
fn is_source(path: &Path) -> bool {
    let folders: Vec<&str> = path.iter().filter_map(|folder| folder.to_str()).collect();
    let is_of_part =
        matches!(folders[..], ["crates", part, "src", ..] if part.starts_with("part_"));
    is_of_part && has_extension(path, "rs") && !folders.iter().any(|name| name.starts_with("tests"))
}

/// Section of a file's first line, `8.4` of `//! 8.4 Rewards`.
fn section(text: &str) -> Option<&str> {
    let word = text.strip_prefix("//! ")?.split_whitespace().next()?.trim_end_matches(',');
    let (part, number) = word.split_once('.')?;
    (part.parse::<u8>().is_ok() && number.parse::<u8>().is_ok()).then_some(word)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_section_in_the_first_line_makes_a_lesson() {
        assert_eq!(section("//! 8.4 Rewards: what\n"), Some("8.4"));
        assert_eq!(section("//! 9.1, 9.2 Advantages\n"), Some("9.1"));
        for supporting in ["//! Flags of PPO.\n", "//! 16 bits\n", "// 8.4\n", ""] {
            assert_eq!(section(supporting), None);
        }
    }

    #[test]
    fn lessons_are_of_their_part_and_in_its_reading_order() -> Result<()> {
        let root = tempfile::tempdir()?;
        let source = root.path().join("crates/part_8_ppo/src");
        fs::create_dir_all(&source)?;
        fs::write(source.join("../README.md"), "| [gae.rs](src/gae.rs) | 8.4 |\n")?;
        fs::write(source.join("gae.rs"), "//! 8.4 GAE\n")?;
        fs::write(source.join("flags.rs"), "//! Flags.\n\n")?;
        let mut faults = Vec::new();
        let part_files = PartFiles::read(root.path(), &mut faults)?;
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(part_files.summary(), "1 lessons with 1 lines, 1 supporting files with 2");
        let of =
            |name: &str| part_files.may_be_shown(&Path::new("crates/part_8_ppo/src").join(name));
        assert!(of("gae.rs") && !of("flags.rs") && part_files.may_be_shown(Path::new("a.rs")));
        fs::write(source.join("kl.rs"), "//! 9.4 KL\n")?;
        PartFiles::read(root.path(), &mut faults)?;
        assert!(faults[0].contains("9.4 is of another part"), "{faults:?}");
        assert!(
            faults[1].contains("kl.rs is a lesson, and not in the reading order"),
            "{faults:?}"
        );
        Ok(())
    }
}
