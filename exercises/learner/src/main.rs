//! Program that the runner writes: one file of `exercises/work`, and a call of its grader.

include!("../../work/main.rs");
