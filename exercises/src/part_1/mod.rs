//! Part 1: attention.

pub mod causal_mask;
pub mod one_head;
pub mod dot_product_size;
pub mod masked_after_softmax;
pub mod softmax_backward;
pub mod heads_without_transpose;
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
        code!(masked_after_softmax),
        code!(softmax_backward),
        code!(heads_without_transpose),
        predict!(untrained_map),
        code!(two_words_back),
        code!(layer_norm_there_and_back),
        predict!(without_residual),
        code!(induction),
    ],
    gates: ["one_head", "softmax_backward"],
    demo: &["one_head", "induction"],
};
