//! Part 6: supervised fine-tuning.

pub mod labels_by_place;
pub mod answer_that_never_ends;
pub mod end_masked_away;
pub mod token_f1;
pub mod two_in_a_row;
pub mod lora_merged;
pub mod lora_parameters;
pub mod prompt_in_use;
pub mod demo;

use crate::entry::Part;
use crate::{code, predict};

/// The part.
pub const PART: Part = Part {
    number: "6",
    title: "Supervised fine-tuning",
    exercises: &[
        code!(labels_by_place),
        code!(answer_that_never_ends),
        predict!(end_masked_away),
        code!(token_f1),
        code!(two_in_a_row),
        code!(lora_merged),
        predict!(lora_parameters),
        code!(prompt_in_use),
    ],
    gates: ["labels_by_place", "lora_merged"],
    demo: &["labels_by_place", "token_f1"],
};
