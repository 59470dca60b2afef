//! Training loop: a step that overflows f16 is skipped, and a non-finite loss ends the run.

use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Device};
use datasets::dataset::{ValidationSplit, tokenize};
use datasets::{Dataset, TextCorpus};
use experiment::tracker::Tracker;
use experiment::{Run, RunCheckpoints, RunFolder, RunLog, RunLogConfig};
use model_io::ModelConfig;
use modern::GradientCheckpointing;
use serde_json::{Value, json};
use tensor_core::testing::assert_close;
use tensor_core::{AdamWConfig, MomentFormat, OptimizerConfig};
use tiny_gpt::Sampling;

use crate::evaluation::{LmEvalConfig, ValidationConfig};
use crate::schedule::DecayShape;
use crate::tokenizer_training::train_on_corpus;
use crate::{LoaderState, LrSchedule, PretrainState, TrainConfig, train};

const STEPS: usize = 3;
pub(super) const CONFIG: TrainConfig = TrainConfig {
    batch_size: 2,
    grad_accum_steps: 2,
    schedule: LrSchedule {
        peak_lr: 1e-3,
        min_lr: 0.,
        warmup_steps: 2,
        total_steps: STEPS,
        decay: DecayShape::Cosine,
    },
    optimizer: OptimizerConfig::AdamW(AdamWConfig {
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        weight_decay: 0.1,
        moments: MomentFormat::Full,
    }),
    max_grad_norm: 1.,
    dropout: 0.,
    dtype: DType::F16,
    gradient_checkpointing: GradientCheckpointing::Off,
    seed: 0,
};

pub(super) fn dataset(folder: &Path) -> Result<Dataset> {
    let file = folder.join("text.txt");
    std::fs::write(&file, "the cat sat on the mat and slept<|endoftext|>".repeat(30))?;
    let corpus = TextCorpus::open(&file)?;
    let tokenizer = train_on_corpus(&corpus, 270, |_| {})?;
    tokenize(&corpus, &tokenizer, ValidationSplit { fraction: 0.1, seed: 0 }, folder, |_| {})?;
    Dataset::open(folder)
}

fn new_state(data: &Dataset) -> Result<PretrainState> {
    let vocab_size = data.tokenizer.vocab_size();
    let model = ModelConfig { vocab_size, ..ModelConfig::byte_level(8, 1, 2, 8) };
    PretrainState::new(model, CONFIG.optimizer, CONFIG.dtype, 0, &Device::Cpu)
}

#[test]
fn a_checkpoint_of_gpt2_resumes_the_same_weights_although_its_file_has_them_transposed()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = dataset(folder.path())?;
    let gpt2 = model_io::testing::variants().into_iter().find(|(name, _)| *name == "gpt2");
    let (_, model) = gpt2.expect("a variant");
    let model = ModelConfig { vocab_size: data.tokenizer.vocab_size(), ..model };
    let state =
        |seed| PretrainState::new(model, CONFIG.optimizer, CONFIG.dtype, seed, &Device::Cpu);
    let (saved, mut resumed, step) = (state(1)?, state(2)?, folder.path().join("step"));
    saved.save(&step, &data.tokenizer, "data")?;
    resumed.restore(&step, "data")?;
    for (a, b) in saved.train.parameters.iter().zip(resumed.train.parameters.iter()) {
        assert_close(a.var.as_tensor(), b.var.as_tensor(), 0.);
    }
    Ok(())
}

/// Trains `run` and returns the rows of its metrics.
fn train_and_read_metrics(
    state: &mut PretrainState,
    data: &Dataset,
    folder: &Path,
) -> Result<Vec<Value>> {
    let run_folder = RunFolder::create(folder, &json!({}))?;
    let log = RunLogConfig::losses(STEPS, CONFIG.schedule.warmup_steps, 1);
    let mut log = RunLog::new(log, 0)?.with_run_folder(run_folder, Tracker::Disabled, &[]);
    let validation = ValidationConfig {
        eval_interval: 0,
        eval_config: LmEvalConfig { batch_size: 1, max_windows: Some(1), window_len: None },
        sample_interval: 0,
        sampling: Sampling::Greedy,
        sample_len: 1,
    };
    let run = Run { checkpoints: Some(RunCheckpoints::at_end(folder, "data")), ..Run::default() };
    train(state, data, &CONFIG, &validation, &folder.join("model"), &run, &mut log)?;
    let text = std::fs::read_to_string(folder.join("metrics.jsonl"))?;
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

#[test]
fn a_skipped_step_advances_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = dataset(folder.path())?;
    let mut run = new_state(&data)?;
    // A scale of 2⁴⁰ certainly overflows f16, and is halved until it does not.
    run.progress.grad_scaler =
        Some(serde_json::from_value(json!({ "scale": 2f64.powi(40), "good_steps": 0 }))?);
    let rows = train_and_read_metrics(&mut run, &data, &folder.path().join("run"))?;
    let n_skipped = rows.iter().filter(|row| row["n_skipped_steps"].is_u64()).count();
    assert!(
        n_skipped > 10 && run.loss_scale() < 2f64.powi(30),
        "{n_skipped} skipped, scale {}",
        run.loss_scale()
    );
    assert_eq!(run.train.progress.step, STEPS);
    // Each step reads 4 windows; an epoch has more than all steps read.
    assert_eq!(run.progress.loader_state, LoaderState { epoch: 0, window: 4 * STEPS });
    let lrs = rows.iter().filter_map(|row| row["lr"].as_f64());
    assert!(lrs.eq((1..=STEPS).map(|n| CONFIG.schedule.lr_at(n))));
    let mut norms = rows.iter().filter_map(|row| row["grad_norm"].as_f64());
    assert!(norms.all(|norm| norm < 100.), "norms are computed and clipped after unscaling");
    let updates = run.train.optimizer.state_dict()?;
    let updates = updates.iter().filter(|(name, _)| name.ends_with(".updates"));
    for (name, count) in updates {
        assert_eq!(count.to_scalar::<u32>()?, STEPS as u32, "{name}");
    }
    Ok(())
}

#[test]
fn a_non_finite_loss_ends_the_run_and_leaves_the_weights_unchanged() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = dataset(folder.path())?;
    let mut run = new_state(&data)?;
    run.progress.grad_scaler = None;
    let norm = run.train.parameters.iter().find(|p| p.name == "model.norm.weight").expect("a norm");
    norm.var.set(&norm.var.ones_like()?.affine(f64::INFINITY, 0.)?)?;
    let embedding = run.train.parameters.iter().next().expect("an embedding").var.copy()?;
    let out = folder.path().join("run");
    let error = train_and_read_metrics(&mut run, &data, &out)
        .expect_err("the loss is not finite")
        .to_string();
    assert!(error.starts_with("step 1: the loss is ") && error.contains("it is early"), "{error}");
    let after = run.train.parameters.iter().next().expect("an embedding").var.as_tensor();
    tensor_core::testing::assert_close(after, &embedding, 0.);
    assert!(std::fs::read_to_string(out.join("metrics.jsonl"))?.contains("alarm"));
    Ok(())
}
