//! Second half of the demo: gradient accumulation, learning-rate schedules and exact resumption,
//! each checked on a tiny model.

use std::path::Path;

use anyhow::Result;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};
use datasets::builtin_text::BuiltinText;
use datasets::dataset::{ValidationSplit, tokenize};
use datasets::{Dataset, TextCorpus};
use model_io::ModelConfig;
use modern::GradientCheckpointing;
use ranks::{BatchGradients, Ranks};
use tensor_core::ops::IGNORE_INDEX;
use tensor_core::{AdamWConfig, MomentFormat, OptimizerConfig, clip_grad_norm, sha256};
use tiny_gpt::Batch;

use crate::accumulation::gradients;
use crate::schedule::DecayShape;
use crate::tokenizer_training::train_on_corpus;
use crate::{DataLoader, LrSchedule, PretrainState, TrainConfig};

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
    optimizer: OptimizerConfig::AdamW(AdamWConfig {
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        weight_decay: 0.1,
        moments: MomentFormat::Full,
    }),
    max_grad_norm: 1.,
    dropout: 0.1,
    dtype: DType::F32,
    gradient_checkpointing: GradientCheckpointing::Off,
    seed: SEED,
};

pub(super) fn print_pipeline_demo() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = tokenize_builtin_stories(folder.path())?;
    print_accumulation_errors(&new_state(&data)?, &data)?;
    print_lr_schedules();
    print_resume_check(&data, folder.path())
}

/// Dataset of the built-in stories, with each paragraph as a document.
fn tokenize_builtin_stories(folder: &Path) -> Result<Dataset> {
    let file = folder.join("stories.txt");
    std::fs::write(&file, BuiltinText::English.text().replace("\n\n", "\n<|endoftext|>\n"))?;
    let corpus = TextCorpus::open(&file)?;
    let tokenizer = train_on_corpus(&corpus, 512, |_| {})?;
    tokenize(&corpus, &tokenizer, ValidationSplit { fraction: 0.1, seed: SEED }, folder, |_| {})?;
    Dataset::open(folder)
}

/// State of a new run on `data`.
fn new_state(data: &Dataset) -> Result<PretrainState> {
    let vocab_size = data.tokenizer.vocab_size();
    let model = ModelConfig { vocab_size, ..ModelConfig::byte_level(64, 2, 2, 32) };
    PretrainState::new(model, CONFIG.optimizer, CONFIG.dtype, SEED, &Device::Cpu)
}

/// Error of the accumulated gradient of eight texts of different lengths against the gradient of
/// the whole batch: weighted by token counts, and as a plain mean of means (once a common bug of
/// trainers).
fn print_accumulation_errors(run: &PretrainState, data: &Dataset) -> Result<()> {
    let (batch, rows) = ragged_batch(run, data)?;
    let model = run.model_in_compute_dtype(&TrainConfig { dropout: 0., ..CONFIG })?;
    let parameters = &run.train.parameters;
    let grads_of = |batches: &[Batch]| {
        let of_rank = gradients(&model, parameters, batches, 1.)?;
        anyhow::Ok(of_rank.average(&Ranks::Alone, &[parameters])?.grads)
    };
    let whole_batch = grads_of(&[batch])?;
    let mut row_grads =
        rows.iter().map(|row| grads_of(std::slice::from_ref(row))).collect::<Result<Vec<_>>>()?;
    let mut mean_of_means = row_grads.remove(0);
    for parameter in run.train.parameters.trainable() {
        let variable = parameter.var.as_tensor();
        let others = row_grads.iter().filter_map(|grads| grads.get(variable));
        if let Some(mut sum) = mean_of_means.remove(variable) {
            for grad in others {
                sum = (sum + grad)?;
            }
            mean_of_means.insert(variable, (sum / rows.len() as f64)?);
        }
    }
    println!("\nGradient of 8 texts of 8 to 64 tokens, in 8 micro-batches and in one batch:");
    println!(
        "  weighted by token counts   relative difference {:9.1e}",
        relative_distance(run, &grads_of(&rows)?, &whole_batch)?
    );
    println!(
        "  mean of the means          relative difference {:9.1e}",
        relative_distance(run, &mean_of_means, &whole_batch)?
    );
    Ok(())
}

/// Batch of eight texts, and eight batches of one text each. The loss counts the first 8 (i + 1)
/// targets of text i.
fn ragged_batch(run: &PretrainState, data: &Dataset) -> Result<(Batch, Vec<Batch>)> {
    let (t, device) = (run.config.context_len, &Device::Cpu);
    let mut loader_state = run.progress.loader_state;
    let Batch { inputs, targets } =
        DataLoader::new(&data.train, t, SEED)?.next_batch(&mut loader_state, 8, device)?;
    let mut targets: Vec<i64> = targets.flatten_all()?.to_vec1()?;
    for (i, row) in targets.chunks_mut(t).enumerate() {
        row[8 * (i + 1)..].fill(IGNORE_INDEX);
    }
    let targets = Tensor::from_vec(targets, (8, t), device)?;
    let row = |i| Ok(Batch { inputs: inputs.narrow(0, i, 1)?, targets: targets.narrow(0, i, 1)? });
    let rows = (0..8).map(row).collect::<Result<_>>()?;
    Ok((Batch { inputs, targets }, rows))
}

/// Relative L2 distance ‖a − b‖ / ‖b‖ over all parameters.
fn relative_distance(run: &PretrainState, a: &GradStore, b: &GradStore) -> Result<f64> {
    let (mut squared_distance, mut squared_norm) = (0., 0.);
    for parameter in run.train.parameters.trainable() {
        let variable = parameter.var.as_tensor();
        if let (Some(a), Some(b)) = (a.get(variable), b.get(variable)) {
            squared_distance += f64::from((a - b)?.sqr()?.sum_all()?.to_scalar::<f32>()?);
            squared_norm += f64::from(b.sqr()?.sum_all()?.to_scalar::<f32>()?);
        }
    }
    Ok((squared_distance / squared_norm).sqrt())
}

/// Prints each schedule with one bar per step.
fn print_lr_schedules() {
    let bars: Vec<char> = "▁▂▃▄▅▆▇█".chars().collect();
    println!("\nLearning rate over {STEPS} steps:");
    for (name, decay) in [("cosine", DecayShape::Cosine), ("WSD", DecayShape::WarmupStableDecay)] {
        let schedule = LrSchedule { decay, ..CONFIG.schedule };
        let bar = |step| bars[(schedule.lr_at(step) / schedule.peak_lr * 7.).round() as usize];
        println!("  {name:6}  {}", (1..=STEPS).map(bar).collect::<String>());
    }
}

/// Compares an uninterrupted run with one that is saved, dropped and loaded again on the way.
fn print_resume_check(data: &Dataset, folder: &Path) -> Result<()> {
    const STOP: usize = 25;
    let mut uninterrupted = new_state(data)?;
    let first_loss = train_to_step(&mut uninterrupted, data, 1)?;
    let last_loss = train_to_step(&mut uninterrupted, data, STEPS)?;
    let mut stopped = new_state(data)?;
    train_to_step(&mut stopped, data, STOP)?;
    let checkpoint = folder.join("stopped");
    save(&stopped, data, &checkpoint)?;
    let mut resumed = new_state(data)?;
    resumed.restore(&checkpoint, &data.sha256())?;
    train_to_step(&mut resumed, data, STEPS)?;
    let (a, b) = (folder.join("uninterrupted"), folder.join("resumed"));
    save(&uninterrupted, data, &a)?;
    save(&resumed, data, &b)?;
    let mut result = "the same bytes";
    for name in ["model.safetensors", "optimizer.safetensors", "state.json"] {
        if sha256::hash_file(&a.join(name))? != sha256::hash_file(&b.join(name))? {
            result = "DIFFERENT bytes";
        }
    }
    println!("\n{STEPS} steps with dropout: loss {first_loss:.3} -> {last_loss:.3}");
    println!(
        "{STOP} steps, saved, loaded, {} more: {result} of model, optimizer and state",
        STEPS - STOP
    );
    Ok(())
}

/// Saves a checkpoint of `run` in `folder`.
fn save(run: &PretrainState, data: &Dataset, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    run.save(folder, &data.tokenizer, &data.sha256())
}

/// Trains up to step `end` and returns the last loss.
fn train_to_step(run: &mut PretrainState, data: &Dataset, end: usize) -> Result<f64> {
    let mut data_loader = DataLoader::new(&data.train, run.config.context_len, SEED)?;
    let mut last_loss = 0.;
    while run.train.progress.step < end {
        let batches = (0..CONFIG.grad_accum_steps)
            .map(|_| {
                let loader_state = &mut run.progress.loader_state;
                data_loader.next_batch(loader_state, CONFIG.batch_size, &Device::Cpu)
            })
            .collect::<Result<Vec<_>>>()?;
        let model = run.model_in_compute_dtype(&CONFIG)?;
        let parameters = &run.train.parameters;
        let of_rank = gradients(&model, parameters, &batches, 1.)?;
        let BatchGradients { loss, mut grads, .. } =
            of_rank.average(&Ranks::Alone, &[parameters])?;
        clip_grad_norm(&mut grads, &run.train.parameters, CONFIG.max_grad_norm)?;
        run.train.progress.step += 1;
        run.train.optimizer.step(&grads, CONFIG.schedule.lr_at(run.train.progress.step))?;
        last_loss = loss;
    }
    Ok(last_loss)
}
