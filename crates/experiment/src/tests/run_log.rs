use anyhow::Result;
use candle_core::{DType, Device};
use serde_json::{Value, json};
use tensor_core::{Init, Parameters, WeightDecay};

use crate::{RunLog, RunLogConfig, StepMetrics};

fn step(step: usize) -> StepMetrics {
    StepMetrics { step, loss: step as f64, lr: 0.1, grad_norm: 1., n_tokens: 2 }
}

#[test]
fn a_run_that_is_over_early_has_a_row_of_its_last_steps() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = RunLogConfig::losses(100, 0, 10);
    let mut log = RunLog::create(config, &folder.path().join("run"), &json!({}))?;
    for n in 1..=13 {
        log.step(&step(n), json!({ "epoch": n }))?;
    }
    log.write_pending_row()?;
    log.write_pending_row()?; // there is nothing left
    log.finish()?;
    let rows = std::fs::read_to_string(folder.path().join("run/metrics.jsonl"))?;
    let rows: Vec<Value> = rows.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let column = |key: &str| rows.iter().map(|row| row[key].clone()).collect::<Vec<_>>();
    assert_eq!(column("step"), [10, 13]);
    assert_eq!(column("loss"), [5.5, 12.], "the means of the steps since the last row");
    assert_eq!((column("tokens"), column("epoch")), (vec![json!(20), json!(26)], column("step")));
    assert!(rows.iter().all(|row| row["step_time_s"].as_f64().is_some_and(|time| time >= 0.)));
    Ok(())
}

#[test]
fn the_parameter_norm_is_that_of_trained_weights_at_the_steps_with_a_row() -> Result<()> {
    let mut parameters = Parameters::seeded(1, DType::F32, &Device::Cpu);
    for name in ["a", "b", "frozen"] {
        parameters.root().at(name).parameter("w", (2, 2), Init::Ones, WeightDecay::Yes)?;
    }
    parameters.freeze(|name| name.starts_with("frozen"));
    let log = RunLog::new(RunLogConfig::losses(100, 0, 10), 0)?;
    assert_eq!(log.param_norm(7, &parameters)?, None);
    assert_eq!(log.param_norm(10, &parameters)?, Some(8f64.sqrt()));
    Ok(())
}
