//! Reference results of PyTorch, made by `scripts/golden_ops.py`.

use anyhow::Result;
use candle_core::{Device, Tensor};
use serde_json::Value;

pub(super) fn all() -> Result<Value> {
    Ok(serde_json::from_str(include_str!("golden_ops.json"))?)
}

/// Nested list of numbers as an f64 tensor of the same shape.
pub(super) fn tensor(value: &Value) -> candle_core::Result<Tensor> {
    let (mut shape, mut level) = (Vec::new(), value);
    while let Some(list) = level.as_array() {
        shape.push(list.len());
        level = &list[0];
    }
    let mut numbers = Vec::new();
    flatten(value, &mut numbers);
    Tensor::from_vec(numbers, shape, &Device::Cpu)
}

fn flatten(value: &Value, numbers: &mut Vec<f64>) {
    match value.as_array() {
        Some(list) => list.iter().for_each(|value| flatten(value, numbers)),
        None => numbers.push(value.as_f64().unwrap()),
    }
}
