#![doc = include_str!("../README.md")]
// The heads of exercises are texts for a terminal, with formulas such as E[r] and x[0].
#![allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_rust_codeblocks)]

// A learner's file and the solution in this crate have the same `use exercises::...`.
extern crate self as exercises;
#[macro_use]
extern crate tensor_core; // its `println!` and the like, which do not panic

pub mod source;
pub mod grading;
pub mod entry;
pub mod child;
pub mod runner;
pub mod part_0;
pub mod part_1;
pub mod part_2;
pub mod part_3;
pub mod part_4;
pub mod part_5;
pub mod part_6;
pub mod part_7;
pub mod part_8;
pub mod part_9;
pub mod part_10;
pub mod part_11;
pub mod part_12;
pub mod part_ppo;
pub mod course;

#[cfg(test)]
mod tests;
