//! An exercise in the list of its part. The macros take everything from the module of its name: the
//! text from its file, the grader from `GRADE`, the solution from the function of the same name.

use crate::grading::{GradeReport, Measure, Prediction};
use crate::source::{Head, stub};

/// Exercise.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Name: that of the module, the learner's file and the function.
    pub name: &'static str,
    /// Text of its file.
    pub source: &'static str,
    /// Grader.
    pub task: Task,
}

/// Grader of an exercise.
#[derive(Clone, Copy)]
pub enum Task {
    /// Code that a learner writes or mends.
    Code {
        /// Verdict on the solution.
        solution: fn() -> GradeReport,
        /// Faults of the grader.
        faults: fn() -> Vec<String>,
        /// Number of known mistakes.
        mistakes: usize,
    },
    /// Questions.
    Predict(fn() -> Vec<Prediction>),
    /// Runs.
    Measure(&'static Measure),
}

/// Part of the course.
pub struct Part {
    /// Number.
    pub number: &'static str,
    /// Title.
    pub title: &'static str,
    /// Exercises in order.
    pub exercises: &'static [Entry],
    /// Two exercises that stand for the part.
    pub gates: [&'static str; 2],
    /// Exercises whose functions the part's demo takes, in this order.
    pub demo: &'static [&'static str],
}

impl Entry {
    /// Head of the file.
    ///
    /// # Panics
    /// When it is malformed, which a test excludes.
    pub fn head(&self) -> Head<'static> {
        Head::parse(self.source).expect("a test parses all heads")
    }

    /// Learner's file as it is before any work.
    pub fn stub(&self) -> String {
        stub(self.source)
    }

    /// Name of the part's module.
    pub fn module(&self) -> String {
        format!("part_{}", self.head().part())
    }

    /// Learner's file, relative to the work folder.
    pub fn path(&self) -> String {
        format!("{}/{}.rs", self.module(), self.name)
    }

    /// Places to read, as `file:line`.
    pub fn places(&self) -> Vec<String> {
        let root = crate::runner::work::root();
        self.head().read.iter().filter_map(|place| place.locate(&root)).collect()
    }

    /// True if a learner writes code.
    pub fn is_code(&self) -> bool {
        matches!(self.task, Task::Code { .. })
    }
}

/// Exercise in code: module `name` with `GRADE` and a function `name`.
#[macro_export]
macro_rules! code {
    ($name:ident) => {
        $crate::entry::Entry {
            name: stringify!($name),
            source: include_str!(concat!(stringify!($name), ".rs")),
            task: $crate::entry::Task::Code {
                solution: || $name::GRADE.judge($name::$name),
                faults: || $name::GRADE.faults(),
                mistakes: $name::GRADE.wrong.len(),
            },
        }
    };
}

/// Prediction: module `name` with a function `questions`.
#[macro_export]
macro_rules! predict {
    ($name:ident) => {
        $crate::entry::Entry {
            name: stringify!($name),
            source: include_str!(concat!(stringify!($name), ".rs")),
            task: $crate::entry::Task::Predict($name::questions),
        }
    };
}

/// Measurement: module `name` with `GRADE`.
#[macro_export]
macro_rules! measure {
    ($name:ident) => {
        $crate::entry::Entry {
            name: stringify!($name),
            source: include_str!(concat!(stringify!($name), ".rs")),
            task: $crate::entry::Task::Measure(&$name::GRADE),
        }
    };
}
