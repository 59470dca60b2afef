//! Part 10: direct preference optimization.

pub mod implicit_reward;
pub mod first_dpo_loss;
pub mod dpo_loss;
pub mod dpo_gradient;
pub mod margins_too_small;
pub mod first_loss_is_not_ln_2;
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
        code!(margins_too_small),
        code!(first_loss_is_not_ln_2),
        code!(ipo_target),
        predict!(which_loss),
        predict!(length_earns),
        measure!(both_fall),
    ],
    gates: ["dpo_loss", "dpo_gradient"],
    demo: &["implicit_reward", "dpo_loss"],
};
