//! Part 3: a modern model.

pub mod rms_norm;
pub mod rope_by_hand;
pub mod rotate;
pub mod wrong_in_pieces;
pub mod beyond_the_context;
pub mod width_of_swiglu;
pub mod four_queries_one_key;
pub mod size_of_the_cache;
pub mod extend;
pub mod cost_of_the_cache;
pub mod ring;
pub mod window_with_sinks;
pub mod online_softmax;
pub mod four_bits;
pub mod demo;

use crate::entry::Part;
use crate::{code, predict};

/// The part.
pub const PART: Part = Part {
    number: "3",
    title: "A modern model",
    exercises: &[
        code!(rms_norm),
        predict!(rope_by_hand),
        code!(rotate),
        code!(wrong_in_pieces),
        predict!(beyond_the_context),
        predict!(width_of_swiglu),
        code!(four_queries_one_key),
        predict!(size_of_the_cache),
        code!(extend),
        predict!(cost_of_the_cache),
        code!(ring),
        code!(window_with_sinks),
        code!(online_softmax),
        predict!(four_bits),
    ],
    gates: ["rotate", "online_softmax"],
    demo: &["rotate", "online_softmax"],
};
