//! Part 1: attention.

pub mod causal_mask;
pub mod one_head;
pub mod dot_product_size;
pub mod rows_that_do_not_sum_to_one;
pub mod softmax_backward;
pub mod head_that_mixes_tokens;
pub mod untrained_map;
pub mod two_words_back;
pub mod layer_norm_there_and_back;
pub mod without_residual;
pub mod induction;
pub mod demo;

use crate::entry::Part;
use crate::{code, predict};

/// The part.
pub const PART: Part = Part {
    number: "1",
    title: "Attention",
    exercises: &[
        code!(causal_mask),
        code!(one_head),
        predict!(dot_product_size),
        code!(rows_that_do_not_sum_to_one),
        code!(softmax_backward),
        code!(head_that_mixes_tokens),
        predict!(untrained_map),
        code!(two_words_back),
        code!(layer_norm_there_and_back),
        predict!(without_residual),
        code!(induction),
    ],
    gates: ["one_head", "softmax_backward"],
    demo: &["one_head", "two_words_back", "induction"],
};
