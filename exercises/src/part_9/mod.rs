//! Part 9: GRPO and its relatives.

pub mod five_baselines;
pub mod group_shrinks;
pub mod easy_prompts_push_up;
pub mod who_counts;
pub mod when_the_clip_acts;
pub mod pass_at_k;
pub mod knows_nothing;
pub mod demo;

use crate::entry::Part;
use crate::{code, predict};

/// The part.
pub const PART: Part = Part {
    number: "9",
    title: "GRPO",
    exercises: &[
        code!(five_baselines),
        predict!(group_shrinks),
        code!(easy_prompts_push_up),
        predict!(who_counts),
        predict!(when_the_clip_acts),
        code!(pass_at_k),
        code!(knows_nothing),
    ],
    gates: ["five_baselines", "pass_at_k"],
    demo: &["five_baselines", "pass_at_k"],
};
