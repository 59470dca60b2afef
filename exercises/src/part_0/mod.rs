//! Part 0: before attention. Surprise, softmax, automatic differentiation, counting.

pub mod tape;
pub mod nats;
pub mod log_softmax;
pub mod autodiff;
pub mod right_for_one_step;
pub mod counting;

use crate::entry::Part;
use crate::{code, predict};

/// The part.
pub const PART: Part = Part {
    number: "0",
    title: "Before attention",
    exercises: &[
        predict!(nats),
        code!(log_softmax),
        code!(autodiff),
        code!(right_for_one_step),
        code!(counting),
    ],
    gates: ["log_softmax", "autodiff"],
    demo: &[],
};
