//! Part 7: reward models.

pub mod bradley_terry;
pub mod score_depends_on_the_batch;
pub mod loss_of_infinity;
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
        code!(score_depends_on_the_batch),
        code!(loss_of_infinity),
        code!(elo),
        code!(is_it_sure),
        measure!(best_of_n),
    ],
    gates: ["bradley_terry", "is_it_sure"],
    demo: &["bradley_terry", "is_it_sure"],
};
