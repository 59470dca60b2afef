//! Part 8: PPO, from the policy gradient on.

pub mod log_derivative;
pub mod score_mean;
pub mod variance_with_baseline;
pub mod gae_by_hand;
pub mod gae_backwards;
pub mod returns_above_every_score;
pub mod which_tokens_learn;
pub mod ratios_that_run_away;
pub mod kl_estimators;
pub mod best_policy;
pub mod paid_by_chance;
pub mod one_score_two_truths;
pub mod probe_constant;
pub mod probe_observation;
pub mod probe_delayed;
pub mod probe_action;
pub mod probe_both;
pub mod which_probe_fails;
pub mod demo;

use crate::entry::Part;
use crate::{code, measure, predict};

/// The part.
pub const PART: Part = Part {
    number: "8",
    title: "PPO",
    exercises: &[
        code!(log_derivative),
        predict!(score_mean),
        predict!(variance_with_baseline),
        predict!(gae_by_hand),
        code!(gae_backwards),
        code!(returns_above_every_score),
        predict!(which_tokens_learn),
        code!(ratios_that_run_away),
        code!(kl_estimators),
        predict!(best_policy),
        measure!(paid_by_chance),
        measure!(one_score_two_truths),
        code!(probe_constant),
        code!(probe_observation),
        code!(probe_delayed),
        code!(probe_action),
        code!(probe_both),
        predict!(which_probe_fails),
    ],
    gates: ["gae_backwards", "kl_estimators"],
    demo: &["gae_backwards", "ratios_that_run_away"],
};
