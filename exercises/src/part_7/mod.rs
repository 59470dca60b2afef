//! Part 7: reward models.

pub mod bradley_terry;
pub mod read_past_the_end;
pub mod log_of_a_sigmoid;
pub mod elo;
pub mod is_it_sure;
pub mod best_of_n;
pub mod demo;

use crate::entry::Part;
use crate::{code, measure};

/// The part.
pub const PART: Part = Part {
    number: "7",
    title: "Reward models",
    exercises: &[
        code!(bradley_terry),
        code!(read_past_the_end),
        code!(log_of_a_sigmoid),
        code!(elo),
        code!(is_it_sure),
        measure!(best_of_n),
    ],
    gates: ["bradley_terry", "is_it_sure"],
    demo: &["bradley_terry", "is_it_sure"],
};
