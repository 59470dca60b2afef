use std::fs;
use std::path::Path;

use anyhow::Result;
use candle_core::DType;
use tensor_core::{AdamWConfig, Parameters};

use super::{CPU, tiny};
use crate::training_memory::ensure_fits_in;
use crate::{ByteCorpus, Gpt, LmEvalMetrics, LrDecay, RunFolder, TrainConfig, TrainLog, train};

const CONFIG: TrainConfig = TrainConfig {
    steps: 30,
    batch_size: 4,
    lr: 1e-2,
    lr_scheduler: LrDecay::Linear,
    optimizer: AdamWConfig { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 },
    max_grad_norm: Some(1.),
    eval_interval: 10,
    sample_interval: 0,
};

fn corpus() -> ByteCorpus {
    ByteCorpus::from_bytes("the cat sat on the mat. ".repeat(20).as_bytes())
}

fn run(folder: &Path, config: &TrainConfig, dropout: f64) -> Result<LmEvalMetrics> {
    let mut gpt_config = tiny();
    gpt_config.block.dropout = dropout;
    let mut parameters = Parameters::seeded(1, DType::F32, &CPU);
    let model = Gpt::new(&gpt_config, parameters.root())?;
    let mut log = TrainLog::new(config.steps)?.with_run_folder(folder, config)?;
    train(&model, &parameters, &corpus(), config, 1, &mut log)
}

fn weights(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("model/model.safetensors")).unwrap()
}

#[test]
fn what_training_needs_is_compared_with_what_is_free() {
    assert!(ensure_fits_in(1e9, 16e9).is_ok());
    let error = ensure_fits_in(1e9, 15.9e9).unwrap_err().to_string();
    assert!(error.contains("1000.0 million parameters") && error.contains("16.0 GB"), "{error}");
}

#[test]
fn the_learning_rate_rises_over_a_twentieth_and_then_stays_or_falls() {
    let rates = |lr_decay| -> Vec<f64> {
        let config = TrainConfig { steps: 40, lr: 3., lr_scheduler: lr_decay, ..CONFIG };
        [0, 1, 2, 20, 39].map(|step| config.lr_at(step)).to_vec()
    };
    assert_eq!(rates(LrDecay::Constant), [1., 2., 3., 3., 3.]);
    let linear = [1., 2., 3. * 38. / 40., 1.5, 3. / 40.];
    let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-12;
    assert!(rates(LrDecay::Linear).iter().zip(&linear).all(close));
}

#[test]
fn the_loss_falls_far_below_guessing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = TrainConfig { steps: 120, eval_interval: 40, ..CONFIG };
    let best = run(folder.path(), &config, 0.)?;
    assert!(best.loss < 1.2, "{best:?}"); // 2.3 would be knowing how often each letter occurs
    assert_eq!(best.tokens, 47); // 480 bytes, a tenth held out, the first of them not predicted
    Ok(())
}

#[test]
fn the_same_seed_writes_the_same_bytes() -> Result<()> {
    let (a, b) = (tempfile::tempdir()?, tempfile::tempdir()?);
    run(a.path(), &CONFIG, 0.1)?;
    run(b.path(), &CONFIG, 0.1)?;
    assert_eq!(weights(a.path()), weights(b.path()));
    Ok(())
}

#[test]
fn evaluating_and_sampling_do_not_disturb_training() -> Result<()> {
    let (often, once) = (tempfile::tempdir()?, tempfile::tempdir()?);
    // The last step's model is the best one here, so both runs save the same step.
    let busy = TrainConfig { eval_interval: 5, sample_interval: 7, ..CONFIG };
    let quiet = TrainConfig { eval_interval: 1000, ..CONFIG };
    let (a, b) = (run(often.path(), &busy, 0.2)?, run(once.path(), &quiet, 0.2)?);
    assert_eq!(a, b);
    assert_eq!(weights(often.path()), weights(once.path()));
    Ok(())
}

#[test]
fn a_run_folder_holds_settings_metrics_curve_and_model() -> Result<()> {
    let folder = tempfile::tempdir()?;
    run(folder.path(), &CONFIG, 0.)?;
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(read("config.json").contains("\"lr_decay\": \"linear\""));
    let rows: Vec<serde_json::Value> =
        read("metrics.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let steps = |key: &str| -> Vec<u64> {
        rows.iter()
            .filter(|row| row[key].is_number())
            .map(|row| row["step"].as_u64().unwrap())
            .collect()
    };
    assert_eq!((steps("loss"), steps("val_loss")), (vec![10, 20, 30], vec![10, 20, 30]));
    assert!(rows[0]["grad_norm"].as_f64().unwrap() > 0.);
    let svg = read("loss.svg");
    assert!(svg.starts_with("<svg") && svg.contains("validation") && svg.contains("loss, nats"));
    assert!(folder.path().join("model/tokenizer.json").exists());
    Ok(())
}

#[test]
fn an_older_run_is_moved_aside_and_nothing_else_is() -> Result<()> {
    let parent = tempfile::tempdir()?;
    let folder = parent.path().join("run");
    run(&folder, &CONFIG, 0.)?;
    let first = weights(&folder);
    run(&folder, &TrainConfig { lr: 2e-2, ..CONFIG }, 0.)?;
    assert_eq!(weights(&parent.path().join("run.previous")), first);
    assert_ne!(weights(&folder), first);

    fs::remove_dir_all(parent.path().join("run.previous"))?;
    fs::create_dir(parent.path().join("run.previous"))?; // somebody's folder, no run
    let error = run(&folder, &CONFIG, 0.).unwrap_err().to_string();
    assert!(error.contains("is in the way and holds no run"), "{error}");
    Ok(())
}

#[test]
fn what_a_new_run_begins_with_is_not_moved_aside_with_the_old_one() -> Result<()> {
    let parent = tempfile::tempdir()?;
    let place = |name: &str| parent.path().join(name);
    for folder in ["run/model", "run.previous/model", "run2"] {
        fs::create_dir_all(place(folder))?;
    }
    let spares = |named: &str| {
        RunFolder::ensure_input_not_overwritten(&place("run"), "--model", place(named))
    };
    let error = |named: &str| spares(named).unwrap_err().to_string();
    assert!(spares("run.previous/model").is_ok(), "there is no run yet that would take its place");
    assert!(error("run/model").contains("moved aside"), "it is not to be written into either");
    RunFolder::create(&place("run"), &())?;
    assert!(error("run.previous/model").contains("removed"));
    fs::create_dir(place("run.previous/checkpoints"))?;
    assert!(spares("run.previous/model").is_ok(), "it stays, as it has checkpoints");
    assert!(error("run/../run").contains("--model") && spares("run2").is_ok());
    assert!(spares("nowhere").is_ok());
    Ok(())
}

#[test]
fn a_run_is_not_written_over_a_model() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("config.json");
    fs::write(&config, "a model's")?;
    let error = RunFolder::create(folder.path(), &()).unwrap_err().to_string();
    assert!(error.contains("config.json is no run's") && error.contains("--out"), "{error}");
    assert_eq!(fs::read_to_string(&config)?, "a model's");
    assert_eq!(fs::read_dir(folder.path())?.count(), 1, "and nothing stands beside it");
    fs::write(folder.path().join(".lock"), "")?; // a run that was killed at once
    RunFolder::create(folder.path(), &()).map(drop)
}

#[test]
fn a_rate_that_blows_the_model_up_is_an_error_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let wild = TrainConfig { lr: 1e30, max_grad_norm: None, ..CONFIG };
    let error = run(folder.path(), &wild, 0.).unwrap_err().to_string();
    assert!(error.contains("try a smaller --lr"), "{error}");
    assert!(!folder.path().join("model").exists(), "no model that is not a number is kept");
}
