//! Part 5: mixture of experts.

pub mod weights_of_the_chosen;
pub mod balance_of_four;
pub mod renormalized_away;

use crate::entry::Part;
use crate::{code, predict};

/// The part.
pub const PART: Part = Part {
    number: "5",
    title: "Mixture of experts",
    exercises: &[code!(weights_of_the_chosen), predict!(balance_of_four), code!(renormalized_away)],
    gates: ["weights_of_the_chosen", "renormalized_away"],
    demo: &[],
};
