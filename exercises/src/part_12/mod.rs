//! Part 12: is it better?

pub mod are_they_different;
pub mod wilson;
pub mod sign_test;
pub mod wins_against_itself;
pub mod best_of_several;
pub mod who_solves_more;

use crate::entry::Part;
use crate::{code, predict};

/// The part.
pub const PART: Part = Part {
    number: "12",
    title: "Is it better?",
    exercises: &[
        code!(wilson),
        predict!(are_they_different),
        code!(sign_test),
        code!(wins_against_itself),
        predict!(best_of_several),
        predict!(who_solves_more),
    ],
    gates: ["wilson", "sign_test"],
    demo: &[],
};
