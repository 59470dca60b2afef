//! Part 11: at test time.

pub mod majority_of_n;
pub mod majority_vote;
pub mod price_of_the_best;
pub mod best_of_all_subsets;
pub mod coin_solves_them_all;
pub mod rewrite_or_resample;
pub mod keep_the_right_ones;

use crate::entry::Part;
use crate::{code, measure, predict};

/// The part.
pub const PART: Part = Part {
    number: "11",
    title: "At test time",
    exercises: &[
        predict!(majority_of_n),
        code!(majority_vote),
        predict!(price_of_the_best),
        code!(best_of_all_subsets),
        code!(coin_solves_them_all),
        predict!(rewrite_or_resample),
        measure!(keep_the_right_ones),
    ],
    gates: ["majority_vote", "best_of_all_subsets"],
    demo: &[],
};
