//! Tests of part 9, section by section.

mod trl_names;
mod advantage;
mod results_table;
mod objective;
mod estimators;
mod rewards;
mod weighted_rewards;
mod uninformed_policies;
mod pass_at_k;
mod task;
mod update;
mod training;
mod wiring;

use candle_core::{Device, Result, Tensor};
use datasets::Example;
use modern::FinishReason;
use ppo::RewardInput;

use crate::rewards::RewardRule;

const CPU: Device = Device::Cpu;

/// Reward of the terminated `completion` by `rule`, where `answer` is right.
fn reward_for(rule: RewardRule, completion: &str, answer: &str) -> f32 {
    let finish_reason = FinishReason::Stop;
    rule(&RewardInput { example: &Example::new("", answer), completion, finish_reason })
}

/// Reward of the truncated `completion` by `rule`, where `answer` is right.
fn reward_if_truncated(rule: RewardRule, completion: &str, answer: &str) -> f32 {
    let finish_reason = FinishReason::Length;
    rule(&RewardInput { example: &Example::new("", answer), completion, finish_reason })
}

/// Tensor (N) of numbers from a golden file.
fn tensor(numbers: &serde_json::Value) -> Result<Tensor> {
    let numbers: Vec<f64> = serde_json::from_value(numbers.clone()).expect("a list of numbers");
    Tensor::new(numbers, &CPU)
}

/// Golden values of `scripts/golden_grpo.py`, computed with TRL's formulas.
fn golden() -> serde_json::Value {
    serde_json::from_str(include_str!("../tests/golden/grpo.json")).expect("a golden file")
}
