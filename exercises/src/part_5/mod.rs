//! Part 5: mixture of experts.

pub mod weights_of_the_chosen;
pub mod balance_of_four;
pub mod router_that_does_not_learn;

use crate::entry::Part;
use crate::{code, predict};

/// The part.
pub const PART: Part = Part {
    number: "5",
    title: "Mixture of experts",
    exercises: &[
        code!(weights_of_the_chosen),
        predict!(balance_of_four),
        code!(router_that_does_not_learn),
    ],
    gates: ["weights_of_the_chosen", "router_that_does_not_learn"],
    demo: &[],
};
