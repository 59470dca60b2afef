//! Part 2: a tiny GPT.

pub mod letters_out_of_bytes;
pub mod falls_to_zero;
pub mod first_loss;
pub mod adamw;
pub mod who_decays;
pub mod unequal_decay;
pub mod clip_all_together;
pub mod one_batch_by_heart;
pub mod top_k_top_p;
pub mod temperature_entropy;
pub mod two_validations_two_losses;
pub mod demo;

use crate::entry::Part;
use crate::{code, measure, predict};

/// The part.
pub const PART: Part = Part {
    number: "2",
    title: "A tiny GPT",
    exercises: &[
        code!(letters_out_of_bytes),
        code!(falls_to_zero),
        predict!(first_loss),
        code!(adamw),
        predict!(who_decays),
        code!(unequal_decay),
        code!(clip_all_together),
        measure!(one_batch_by_heart),
        code!(top_k_top_p),
        predict!(temperature_entropy),
        code!(two_validations_two_losses),
    ],
    gates: ["adamw", "top_k_top_p"],
    demo: &["adamw", "top_k_top_p"],
};
