//! The grader: what a function answers, compared with what the reference answers and with what
//! known mistakes would answer.

pub mod answers;
pub mod compare;
pub mod fill;
pub mod measure;
pub mod predict;
pub mod verdict;

pub use answers::Answers;
pub use fill::{Fill, Wrong};
pub use measure::{Measure, Run};
pub use predict::Prediction;
pub use verdict::{GradeReport, Outcome};

#[cfg(test)]
mod tests;
