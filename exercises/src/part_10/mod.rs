//! Part 10: direct preference optimization.

pub mod implicit_reward;
pub mod first_dpo_loss;
pub mod dpo_loss;
pub mod dpo_gradient;
pub mod mean_for_sum;
pub mod reference_with_dropout;
pub mod ipo_target;
pub mod which_loss;
pub mod length_earns;
pub mod both_fall;
pub mod demo;

use crate::entry::Part;
use crate::{code, measure, predict};

/// The part.
pub const PART: Part = Part {
    number: "10",
    title: "Direct preference optimization",
    exercises: &[
        code!(implicit_reward),
        predict!(first_dpo_loss),
        code!(dpo_loss),
        code!(dpo_gradient),
        code!(mean_for_sum),
        code!(reference_with_dropout),
        code!(ipo_target),
        predict!(which_loss),
        predict!(length_earns),
        measure!(both_fall),
    ],
    gates: ["dpo_loss", "dpo_gradient"],
    demo: &["implicit_reward", "dpo_loss"],
};
