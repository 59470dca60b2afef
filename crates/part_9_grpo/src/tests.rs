//! What this part claims, section by section.

mod advantage;
mod objective;
mod estimators;
mod answers;
mod rewards;
mod know_nothing;
mod countdown;
mod pass_at_k;
mod task;
mod update;
mod training;
mod wiring;

use candle_core::{Device, Result, Tensor};
use ppo::RewardInput;
use sft::Example;

const CPU: Device = Device::Cpu;

/// What `reward` pays for `text` where `answer` is right.
fn reward_for(reward: crate::rewards::RewardRule, text: &str, answer: &str, ended: bool) -> f32 {
    reward(&RewardInput { example: &Example::new("", answer), completion: text, terminated: ended })
}

/// Numbers from a golden file as a tensor: (N).
fn tensor(numbers: &serde_json::Value) -> Result<Tensor> {
    let numbers: Vec<f64> = serde_json::from_value(numbers.clone()).expect("numbers");
    Tensor::new(numbers, &CPU)
}

/// What `scripts/golden_grpo.py` found by TRL's formulas.
fn golden() -> serde_json::Value {
    serde_json::from_str(include_str!("../tests/golden/grpo.json")).expect("a golden file")
}
