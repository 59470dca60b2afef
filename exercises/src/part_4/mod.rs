//! Part 4: scaling.

pub mod first_merges;
pub mod learn_merges;
pub mod encode_by_rank;
pub mod across_the_space;
pub mod gradient_of_parts;
pub mod loss_depends_on_the_cut;
pub mod lr_of_three_steps;
pub mod which_numbers_survive;
pub mod loss_scale;
pub mod memory_of_a_step;
pub mod scaling_law;
pub mod resumed_almost;

use crate::entry::Part;
use crate::{code, predict};

/// The part.
pub const PART: Part = Part {
    number: "4",
    title: "Scaling",
    exercises: &[
        predict!(first_merges),
        code!(learn_merges),
        code!(encode_by_rank),
        code!(across_the_space),
        code!(gradient_of_parts),
        code!(loss_depends_on_the_cut),
        predict!(lr_of_three_steps),
        predict!(which_numbers_survive),
        code!(loss_scale),
        predict!(memory_of_a_step),
        code!(scaling_law),
        code!(resumed_almost),
    ],
    gates: ["learn_merges", "gradient_of_parts"],
    demo: &[],
};
