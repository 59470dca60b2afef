//! The demo's second half: what makes a run safe to leave alone, each claim checked before your eyes on a tiny model.

use std::path::Path;

use anyhow::Result;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};
use modern::{GradientCheckpointing, ModelConfig};
use tensor_core::ops::IGNORE_INDEX;
use tensor_core::{AdamWConfig, clip_grad_norm};
use tiny_gpt::Batch;
use tiny_gpt::builtin_text::BuiltinText;

use crate::accumulation::gradients;
use crate::dataset::{ValidationSplit, tokenize};
use crate::schedule::DecayShape;
use crate::{Corpus, DataLoader, Dataset, LrSchedule, PretrainState, TrainConfig, sha256};

const SEED: u64 = 1337;
const STEPS: usize = 60;
const CONFIG: TrainConfig = TrainConfig {
    batch_size: 4,
    grad_accum_steps: 2,
    schedule: LrSchedule {
        peak_lr: 3e-3,
        min_lr: 3e-4,
        warmup_steps: 6,
        total_steps: STEPS,
        decay: DecayShape::Cosine,
    },
    optimizer: AdamWConfig { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1 },
    max_grad_norm: 1.,
    dropout: 0.1,
    dtype: DType::F32,
    gradient_checkpointing: GradientCheckpointing::Off,
};

pub(super) fn print_pipeline_demo() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = tokenize_builtin_stories(folder.path())?;
    let model = ModelConfig {
        vocab_size: data.tokenizer.vocab_size(),
        ..ModelConfig::byte_level(64, 2, 2, 32)
    };
    let fresh = || PretrainState::new(model, CONFIG.optimizer, CONFIG.dtype, SEED, &Device::Cpu);
    print_accumulation_errors(&fresh()?, &data)?;
    print_lr_schedules();
    print_resume_check(fresh, &data, folder.path())
}

/// The built-in stories, each paragraph a document.
fn tokenize_builtin_stories(folder: &Path) -> Result<Dataset> {
    let file = folder.join("stories.txt");
    std::fs::write(&file, BuiltinText::English.text().replace("\n\n", "\n<|endoftext|>\n"))?;
    let corpus = Corpus::open(&file)?;
    let tokenizer = corpus.train_tokenizer(512, |_| {})?;
    tokenize(&corpus, &tokenizer, ValidationSplit { fraction: 0.1, seed: SEED }, folder, |_| {})?;
    Dataset::open(folder)
}

/// The gradient of eight texts of different length, all at once, one after the other, and as trainers once had it.
fn print_accumulation_errors(run: &PretrainState, data: &Dataset) -> Result<()> {
    let (whole, rows) = ragged_batch(run, data)?;
    let model = run.model_in_compute_dtype(&TrainConfig { dropout: 0., ..CONFIG })?;
    let of = |batches: &[Batch]| anyhow::Ok(gradients(&model, &run.parameters, batches, 1.)?.1);
    let at_once = of(&[whole])?;
    let mut means =
        rows.iter().map(|row| of(std::slice::from_ref(row))).collect::<Result<Vec<_>>>()?;
    let mut mean_of_means = means.remove(0);
    for parameter in run.parameters.trainable() {
        let variable = parameter.var.as_tensor();
        let parts = means.iter().filter_map(|grads| grads.get(variable));
        if let Some(mut sum) = mean_of_means.remove(variable) {
            for part in parts {
                sum = (sum + part)?;
            }
            mean_of_means.insert(variable, (sum / rows.len() as f64)?);
        }
    }
    println!("\nThe gradient of 8 texts of 8 to 64 tokens, in 8 parts, against all at once:");
    println!(
        "  each part weighted by its tokens   {:9.1e} apart",
        relative_distance(run, &of(&rows)?, &at_once)?
    );
    println!(
        "  a mean of the parts' means         {:9.1e} apart",
        relative_distance(run, &mean_of_means, &at_once)?
    );
    Ok(())
}

/// Eight texts in one batch and in eight; of text i, the first 8 (i + 1) targets count.
fn ragged_batch(run: &PretrainState, data: &Dataset) -> Result<(Batch, Vec<Batch>)> {
    let (t, device) = (run.config.context_len, &Device::Cpu);
    let mut cursor = run.progress.loader_state;
    let Batch { inputs, targets } =
        DataLoader::new(&data.train, t, SEED)?.next_batch(&mut cursor, 8, device)?;
    let mut targets: Vec<i64> = targets.flatten_all()?.to_vec1()?;
    for (i, row) in targets.chunks_mut(t).enumerate() {
        row[8 * (i + 1)..].fill(IGNORE_INDEX);
    }
    let targets = Tensor::from_vec(targets, (8, t), device)?;
    let row = |i| Ok(Batch { inputs: inputs.narrow(0, i, 1)?, targets: targets.narrow(0, i, 1)? });
    let rows = (0..8).map(row).collect::<Result<_>>()?;
    Ok((Batch { inputs, targets }, rows))
}

/// How far `a` is from `b`, in lengths of `b`.
fn relative_distance(run: &PretrainState, a: &GradStore, b: &GradStore) -> Result<f64> {
    let (mut distance, mut length) = (0., 0.);
    for parameter in run.parameters.trainable() {
        let variable = parameter.var.as_tensor();
        if let (Some(a), Some(b)) = (a.get(variable), b.get(variable)) {
            distance += f64::from((a - b)?.sqr()?.sum_all()?.to_scalar::<f32>()?);
            length += f64::from(b.sqr()?.sum_all()?.to_scalar::<f32>()?);
        }
    }
    Ok((distance / length).sqrt())
}

/// The schedule, one bar for each step.
fn print_lr_schedules() {
    let bars: Vec<char> = "▁▂▃▄▅▆▇█".chars().collect();
    println!("\nThe learning rate of {STEPS} steps:");
    for (name, decay) in [("cosine", DecayShape::Cosine), ("stable", DecayShape::WarmupStableDecay)]
    {
        let schedule = LrSchedule { decay, ..CONFIG.schedule };
        let bar = |step| bars[(schedule.lr_at(step) / schedule.peak_lr * 7.).round() as usize];
        println!("  {name}  {}", (1..=STEPS).map(bar).collect::<String>());
    }
}

/// A run of all steps, and one that is saved, dropped and opened again on the way.
fn print_resume_check(
    fresh: impl Fn() -> Result<PretrainState>,
    data: &Dataset,
    folder: &Path,
) -> Result<()> {
    const STOP: usize = 25;
    let save = |run: &PretrainState, name: &str| {
        let place = folder.join(name);
        std::fs::create_dir_all(&place)?;
        run.save(&place, data)?;
        anyhow::Ok(place)
    };
    let mut whole = fresh()?;
    let (first, loss) =
        (train_to_step(&mut whole, data, 1)?, train_to_step(&mut whole, data, STEPS)?);
    let mut parts = fresh()?;
    train_to_step(&mut parts, data, STOP)?;
    let place = save(&parts, "stopped")?;
    let mut parts =
        PretrainState::open(&place, parts.config, CONFIG.optimizer, data, &Device::Cpu)?;
    train_to_step(&mut parts, data, STEPS)?;
    let names = ["model.safetensors", "optimizer.safetensors", "state.json"];
    let [a, b] = [save(&whole, "whole")?, save(&parts, "parts")?]
        .map(|place| names.map(|name| sha256::hash_file(&place.join(name))));
    let same = a.into_iter().zip(b).map(|(a, b)| Ok(a? == b?)).collect::<Result<Vec<_>>>()?;
    let verdict = if same == [true; 3] { "the same bytes" } else { "DIFFERENT bytes" };
    println!("\n{STEPS} steps with dropout: loss {first:.3}, then {loss:.3}");
    println!(
        "{STOP} steps, saved, opened, {} more: {verdict} of model, optimizer and state",
        STEPS - STOP
    );
    Ok(())
}

/// Trains up to step `end`; the last loss.
fn train_to_step(run: &mut PretrainState, data: &Dataset, end: usize) -> Result<f64> {
    let mut windows = DataLoader::new(&data.train, run.config.context_len, SEED)?;
    let mut last = 0.;
    while run.progress.step < end {
        let batches = (0..CONFIG.grad_accum_steps)
            .map(|_| {
                windows.next_batch(&mut run.progress.loader_state, CONFIG.batch_size, &Device::Cpu)
            })
            .collect::<Result<Vec<_>>>()?;
        let model = run.model_in_compute_dtype(&CONFIG)?;
        let (loss, mut grads) = gradients(&model, &run.parameters, &batches, 1.)?;
        clip_grad_norm(&mut grads, &run.parameters, CONFIG.max_grad_norm)?;
        run.progress.step += 1;
        run.optimizer.step(&grads, CONFIG.schedule.lr_at(run.progress.step))?;
        last = loss;
    }
    Ok(last)
}
