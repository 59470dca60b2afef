//! The file of an exercise, read as text. Its first lines are the exercise as the learner sees it:
//!
//! ```text
//! //! 1.1 The mask, also after a cache (fill in, 5 minutes, ●○○)
//! //!
//! //! The text.
//! //!
//! //! Hint: ...                                 three of them, not copied, like all below them
//! //! Read: crates/part_1_attention/src/head.rs: pub fn causal_mask
//! //! Read: book/src/01_attention.md: ## The mask     the text comes before the code for a learner
//! ```
//!
//! Then come the code, and below a line `// GRADE` the grader. [`stub`] cuts the learner's file out
//! of it. Marked lines are the solution:
//!
//! ```text
//!     // SOLUTION: 2 lines: what they do        the stub has `todo!("2 lines: what they do");`
//!     ...
//!     // END
//!
//!     // BUG                                    the stub has the lines that begin with `//|`
//!     right();
//!     //| wrong();
//!     // END
//! ```

use std::fmt;
use std::path::Path;

/// Kind of an exercise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Write the body of a function.
    FillIn,
    /// Mend a mistake in working code.
    FindTheBug,
    /// Say a number, or choose, before anything runs.
    Predict,
    /// Run something, and let the grader read the run folders.
    Measure,
    /// Write an update that learns in a world whose answer is known.
    Probe,
}

impl Kind {
    /// Largest number of lines that may differ from the stub, if there is one.
    pub fn max_changed_lines(self) -> Option<usize> {
        (self == Self::FindTheBug).then_some(3)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FillIn => "fill in",
            Self::FindTheBug => "find the bug",
            Self::Predict => "predict",
            Self::Measure => "measure",
            Self::Probe => "probe",
        })
    }
}

/// Head of an exercise's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head<'a> {
    /// Number in the course, such as `1.1`.
    pub number: &'a str,
    /// Title.
    pub title: &'a str,
    /// Kind of the exercise.
    pub kind: Kind,
    /// Minutes that it takes.
    pub minutes: u32,
    /// Difficulty, one to three dots.
    pub difficulty: &'a str,
    /// Text of the exercise, its lines wrapped as in the file.
    pub text: String,
    /// Hints, the last of which nearly gives it away.
    pub hints: Vec<String>,
    /// Places to read.
    pub read: Vec<ReadingPlace<'a>>,
}

/// Place in the repository: a file, and a piece of the line that is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadingPlace<'a> {
    /// File, relative to the root of the repository.
    pub file: &'a str,
    /// Piece of a line in the file.
    pub line: &'a str,
}

impl<'a> ReadingPlace<'a> {
    /// Place written as `file: piece of a line`.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (file, line) = text.trim().split_once(": ")?;
        Some(Self { file, line })
    }

    /// True for code, which may hold the solution; other places are sections of a text.
    pub fn is_code(&self) -> bool {
        self.file.ends_with(".rs")
    }

    /// Place as `file#section` if the line is a heading of a text, else as `file:12`; `None` if it
    /// is not in the file under `root`.
    pub fn locate(&self, root: &Path) -> Option<String> {
        let text = std::fs::read_to_string(root.join(self.file)).ok()?;
        let (at, line) = text.lines().enumerate().find(|(_, line)| line.contains(self.line))?;
        Some(match !self.is_code() && line.starts_with('#') {
            true => format!("{}#{}", self.file, anchor(line)),
            false => format!("{}:{}", self.file, at + 1),
        })
    }
}

/// Anchor of a heading of Markdown: its letters, digits and hyphens in lower case.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|&c| c.is_alphanumeric() || " -_".contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

impl<'a> Head<'a> {
    /// Reads the head of `source`; `None` if its first line or a place to read is malformed.
    pub fn parse(source: &'a str) -> Option<Self> {
        let mut lines = source.lines().map_while(|line| line.strip_prefix("//!"));
        let (title, facts) = lines.next()?.trim().rsplit_once(" (")?;
        let (number, title) = title.split_once(' ')?;
        let mut facts = facts.strip_suffix(')')?.split(", ");
        let kind = match facts.next()? {
            "fill in" => Kind::FillIn,
            "find the bug" => Kind::FindTheBug,
            "predict" => Kind::Predict,
            "measure" => Kind::Measure,
            "probe" => Kind::Probe,
            _ => return None,
        };
        let minutes = facts.next()?.strip_suffix(" minutes")?.parse().ok()?;
        let difficulty = facts.next()?;
        let (mut text, mut hints, mut read) = (String::new(), Vec::<String>::new(), Vec::new());
        for line in lines.map(|line| line.strip_prefix(' ').unwrap_or(line)) {
            if let Some(place) = line.strip_prefix("Read: ") {
                read.push(ReadingPlace::parse(place)?);
            } else if let Some(hint) = line.strip_prefix("Hint: ") {
                hints.push(hint.to_string());
            } else if let Some(hint) = hints.last_mut() {
                hint.push('\n');
                hint.push_str(line);
            } else {
                text.push_str(line);
                text.push('\n');
            }
        }
        let text = text.trim().to_string();
        Some(Self { number, title, kind, minutes, difficulty, text, hints, read })
    }

    /// Sections of texts to read.
    pub fn sections(&self) -> impl Iterator<Item = ReadingPlace<'a>> {
        self.read.iter().copied().filter(|place| !place.is_code())
    }

    /// Code to read, which may hold the solution.
    pub fn code(&self) -> impl Iterator<Item = ReadingPlace<'a>> {
        self.read.iter().copied().filter(ReadingPlace::is_code)
    }

    /// Number of the part.
    pub fn part(&self) -> &'a str {
        self.number.split('.').next().unwrap_or_default()
    }
}

/// Learner's file of an exercise: `source` without its hints, places to read and grader, and with
/// the marked lines replaced.
pub fn stub(source: &str) -> String {
    let mut stub = String::new();
    let mut replaced = false;
    let mut hint = false;
    for line in learners_half(source).lines() {
        hint = line.starts_with("//!") && (hint || line.starts_with("//! Hint: "));
        if hint {
            continue;
        }
        if stub.ends_with("//!\n") && !line.starts_with("//!") {
            stub.truncate(stub.len() - "//!\n".len());
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        if let Some(rest) = line.trim_start().strip_prefix("// SOLUTION: ") {
            stub.push_str(&format!("{indent}todo!({rest:?});\n"));
            replaced = true;
        } else if line.trim_start() == "// BUG" {
            replaced = true;
        } else if line.trim_start() == "// END" {
            replaced = false;
        } else if let Some(rest) = line.trim_start().strip_prefix("//| ") {
            stub.push_str(&format!("{indent}{rest}\n"));
        } else if !replaced {
            stub.push_str(line);
            stub.push('\n');
        }
    }
    stub
}

/// Solution of an exercise, as it is shown: `source` without its grader and its marks.
pub fn solution(source: &str) -> String {
    let is_mark = |line: &str| {
        let line = line.trim_start();
        ["// SOLUTION: ", "//| "].iter().any(|mark| line.starts_with(mark))
            || ["// BUG", "// END"].contains(&line)
    };
    let half = learners_half(source);
    let body = half.lines().filter(|line| !line.starts_with("//!"));
    let lines = body.filter(|line| !is_mark(line)).map(|line| format!("{line}\n"));
    lines.collect::<String>().trim_start().to_string()
}

fn learners_half(source: &str) -> String {
    let half = source.split_once("\n// GRADE\n").map_or(source, |(half, _)| half);
    format!("{}\n", half.trim_end())
}

/// Number of lines of `file` that `stub` does not have, or the other way round if that is more.
pub fn changed_lines(stub: &str, file: &str) -> usize {
    let lines = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.trim().to_string()).filter(|line| !line.is_empty()).collect()
    };
    let missing = |from: Vec<String>, mut of: Vec<String>| {
        from.iter()
            .filter(|line| match of.iter().position(|other| other == *line) {
                Some(at) => {
                    of.swap_remove(at);
                    false
                }
                None => true,
            })
            .count()
    };
    missing(lines(file), lines(stub)).max(missing(lines(stub), lines(file)))
}
