use std::fs;
use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Module, Tensor};
use clap::{Args, Command, FromArgMatches};
use experiment::flags::Precision;
use experiment::{Run, RunLog};
use tensor_core::testing::assert_same_step_on_each_device;
use tensor_core::{AdamWConfig, MomentFormat, OptimizerConfig, Parameters};

use super::{CPU, tiny_config};
use crate::flags::{SampleFlags, TrainFlags};
use crate::{ByteCorpus, Gpt, LmEvalMetrics, LrDecay, SampleConfig, Sampling, TrainConfig, train};

const CONFIG: TrainConfig = TrainConfig {
    warmup_steps: 1,
    dtype: Precision::F32,
    steps: 30,
    batch_size: 4,
    lr: 1e-2,
    lr_scheduler: LrDecay::Linear,
    optimizer: OptimizerConfig::AdamW(AdamWConfig {
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        weight_decay: 0.1,
        moments: MomentFormat::Full,
    }),
    max_grad_norm: Some(1.),
    eval_interval: 10,
    samples: SampleConfig::DISABLED,
};

fn corpus() -> ByteCorpus {
    ByteCorpus::from_bytes("the cat sat on the mat. ".repeat(20).as_bytes())
}

fn run(folder: &Path, config: &TrainConfig, dropout: f64) -> Result<LmEvalMetrics> {
    let mut gpt_config = tiny_config();
    gpt_config.block.dropout = dropout;
    let mut parameters = Parameters::seeded(1, DType::F32, &CPU);
    let model = Gpt::new(&gpt_config, parameters.root())?;
    let mut log = RunLog::create(config.log_config(), folder, config)?;
    let (run, model_folder) = (Run::default(), folder.join("model"));
    train(&model, &parameters, &corpus(), config, 1, Some(&model_folder), &run, &mut log)
}

#[test]
fn a_step_is_the_same_on_each_device() -> Result<()> {
    for (dtype, tol) in [(Precision::F32, 1e-4), (Precision::Bf16, 2e-2)] {
        assert_same_step_on_each_device(tol, |device| {
            let mut parameters = Parameters::seeded(1, DType::F32, device);
            let model = Gpt::new(&tiny_config(), parameters.root())?;
            let logits = model.forward(&Tensor::new(&[[1u32, 2, 3], [7, 6, 5]], device)?)?;
            let optimizer =
                OptimizerConfig::from(AdamWConfig { eps: 1., ..CONFIG.optimizer.adamw() });
            let config =
                TrainConfig { steps: 1, warmup_steps: 0, lr: 1., dtype, optimizer, ..CONFIG };
            let (run, mut log) = (Run::default(), RunLog::of_losses(1)?);
            train(&model, &parameters, &corpus(), &config, 1, None, &run, &mut log)?;
            Ok((logits, parameters))
        })?;
    }
    Ok(())
}

fn weights(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("model/model.safetensors")).unwrap()
}

#[test]
fn under_transformers_name_a_schedule_has_no_warm_up() -> Result<()> {
    let config = |args: &str| -> Result<TrainConfig> {
        let command = TrainFlags::augment_args(Command::new("train").no_binary_name(true));
        let command = SampleFlags::augment_args(command);
        let matches = command.try_get_matches_from(args.split_whitespace())?;
        let samples = SampleFlags::from_arg_matches(&matches)?;
        TrainFlags::from_arg_matches(&matches)?.config(8, 1000, 10, &samples)
    };
    let ours = config("--steps 40 --lr-scheduler constant")?;
    assert_eq!((ours.warmup_steps, ours.lr_scheduler), (2, LrDecay::Constant));
    let theirs = config("--steps 40 --lr-scheduler-type constant")?;
    assert_eq!((theirs.warmup_steps, theirs.lr_scheduler), (0, LrDecay::Constant));
    assert_eq!(config("--lr-scheduler-type linear --warmup-steps 3")?.warmup_steps, 3);
    Ok(())
}

#[test]
fn the_learning_rate_warms_up_then_stays_or_decays() {
    let lrs = |lr_scheduler| -> Vec<f64> {
        let config = TrainConfig { steps: 40, warmup_steps: 2, lr: 3., lr_scheduler, ..CONFIG };
        [0, 1, 2, 20, 39].map(|step| config.lr_at(step)).to_vec()
    };
    assert_eq!(lrs(LrDecay::Constant), [1., 2., 3., 3., 3.]);
    let linear = [1., 2., 3. * 38. / 40., 1.5, 3. / 40.];
    let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-12;
    assert!(lrs(LrDecay::Linear).iter().zip(&linear).all(close));
}

#[test]
fn training_lowers_the_loss_below_that_of_letter_frequencies() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = TrainConfig { steps: 120, eval_interval: 40, ..CONFIG };
    let best = run(folder.path(), &config, 0.)?;
    assert!(best.loss < 1.2, "{best:?}"); // letter frequencies alone give 2.3
    assert_eq!(best.tokens, 47); // a tenth of 480 bytes, without its first, which is not predicted
    Ok(())
}

#[test]
fn the_same_seed_gives_the_same_weights_bit_for_bit() -> Result<()> {
    let (a, b) = (tempfile::tempdir()?, tempfile::tempdir()?);
    run(a.path(), &CONFIG, 0.1)?;
    run(b.path(), &CONFIG, 0.1)?;
    assert_eq!(weights(a.path()), weights(b.path()));
    Ok(())
}

#[test]
fn evaluation_and_sampling_do_not_change_the_training() -> Result<()> {
    let (first, second) = (tempfile::tempdir()?, tempfile::tempdir()?);
    // Here the model of the last step is the best one, so both runs save the same step.
    let sampling = Sampling::new(1., Some(50), None);
    let samples = SampleConfig { sample_interval: 7, sample_len: 200, sampling };
    let frequent = TrainConfig { eval_interval: 5, samples, ..CONFIG };
    let rare = TrainConfig { eval_interval: 1000, ..CONFIG };
    let (a, b) = (run(first.path(), &frequent, 0.2)?, run(second.path(), &rare, 0.2)?);
    assert_eq!(a, b);
    assert_eq!(weights(first.path()), weights(second.path()));
    Ok(())
}

#[test]
fn a_run_folder_has_settings_metrics_loss_curve_and_model() -> Result<()> {
    let folder = tempfile::tempdir()?;
    run(folder.path(), &TrainConfig { steps: 25, ..CONFIG }, 0.)?;
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(read("config.json").contains("\"lr_scheduler\": \"linear\""));
    let rows: Vec<serde_json::Value> =
        read("metrics.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let steps = |key: &str| -> Vec<u64> {
        rows.iter()
            .filter(|row| row[key].is_number())
            .map(|row| row["step"].as_u64().unwrap())
            .collect()
    };
    // A row every ten steps, and one of the last step.
    assert_eq!((steps("loss"), steps("val_loss")), (vec![10, 20, 25], vec![10, 20, 25]));
    assert!(rows[0]["grad_norm"].as_f64().unwrap() > 0.);
    let svg = read("loss.svg");
    assert!(svg.starts_with("<svg") && svg.contains("validation") && svg.contains("loss, nats"));
    assert!(folder.path().join("model/tokenizer.json").exists());
    Ok(())
}

#[test]
fn an_older_run_is_moved_aside_and_other_folders_are_not() -> Result<()> {
    let parent = tempfile::tempdir()?;
    let folder = parent.path().join("run");
    run(&folder, &CONFIG, 0.)?;
    let first = weights(&folder);
    run(&folder, &TrainConfig { lr: 2e-2, ..CONFIG }, 0.)?;
    assert_eq!(weights(&parent.path().join("run.previous")), first);
    assert_ne!(weights(&folder), first);

    fs::remove_dir_all(parent.path().join("run.previous"))?;
    fs::create_dir(parent.path().join("run.previous"))?; // a folder without a run
    let error = run(&folder, &CONFIG, 0.).unwrap_err().to_string();
    assert!(error.contains("exists and is not a run folder"), "{error}");
    Ok(())
}

#[test]
fn a_diverging_loss_is_an_error_that_suggests_a_smaller_lr() {
    let folder = tempfile::tempdir().unwrap();
    let diverging = TrainConfig { lr: 1e30, max_grad_norm: None, ..CONFIG };
    let error = run(folder.path(), &diverging, 0.).unwrap_err().to_string();
    assert!(error.contains("try a smaller --lr"), "{error}");
    assert!(!folder.path().join("model").exists(), "a model with NaN weights is not saved");
}

#[test]
fn a_loss_that_is_not_finite_ends_the_run_before_it_reaches_the_weights() -> Result<()> {
    let mut parameters = Parameters::seeded(1, DType::F32, &CPU);
    let model = Gpt::new(&tiny_config(), parameters.root())?;
    let damaged = parameters.get("ln_f.bias").expect("a last norm");
    damaged.var.set(&(damaged.var.as_tensor() + f64::NAN)?)?;
    let embeddings = || parameters.get("wte.weight").unwrap().var.to_vec2::<f32>();
    let (before, run, mut log) = (embeddings()?, Run::default(), RunLog::of_losses(30)?);
    let error = train(&model, &parameters, &corpus(), &CONFIG, 1, None, &run, &mut log);
    assert!(error.unwrap_err().to_string().starts_with("step 1: the loss is NaN"));
    assert_eq!(embeddings()?, before);
    Ok(())
}
