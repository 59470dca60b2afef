//! The loop: that of the earlier parts. What differs is which tokens count (6.2) and what is looked at from time to time (6.4).

use anyhow::{Result, bail, ensure};
use candle_core::Device;
use modern::GptModern;
use scaling::Schedule;
use scaling::accumulation::gradients_of;
use serde_json::json;
use tensor_core::{AdamWConfig, clip_grad_norm};

use crate::exam::Exam;
use crate::run_log::Figures;
use crate::{Batch, Curriculum, Order, Outputs, RunLog, Tokens, Tuning};

/// What decides where a run arrives.
#[derive(Debug, Clone, Copy)]
pub struct TrainConfig {
    /// Examples whose gradient is computed at a time.
    pub batch_size: usize,
    /// Such batches per step.
    pub accumulate: usize,
    /// The order of the examples.
    pub curriculum: Curriculum,
    /// How they stand in a batch.
    pub rows: Rows,
    /// The rate of each step, and how many there are.
    pub schedule: Schedule,
    /// β₁, β₂, ε and weight decay.
    pub optimizer: AdamWConfig,
    /// Largest gradient norm.
    pub grad_clip: f64,
    /// Of the order.
    pub seed: u64,
}

impl TrainConfig {
    /// The usual one: `steps` batches in shuffled order, an example a row, the rate's peak at `peak`.
    pub fn usual(batch_size: usize, steps: usize, peak: f64, seed: u64) -> Self {
        Self {
            batch_size,
            accumulate: 1,
            curriculum: Curriculum::Shuffled,
            rows: Rows::Padded,
            schedule: Schedule::cosine(peak, steps),
            optimizer: AdamWConfig { beta2: 0.99, weight_decay: 0.01, ..AdamWConfig::default() },
            grad_clip: 1.,
            seed,
        }
    }
}

/// How examples stand in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// One in each row.
    Padded,
    /// Several behind each other in rows of this many tokens.
    Packed(usize),
}

/// Trains `tuning` on `examples` from where it is, until its schedule ends, it is told to stop, or `exam` is passed.
///
/// # Errors
/// When there is nothing to learn from, the loss stops being a number, or a file cannot be written.
pub fn train(
    tuning: &mut Tuning,
    examples: &[Tokens],
    config: &TrainConfig,
    exam: Option<&Exam<'_>>,
    outputs: &Outputs<'_>,
    log: &mut RunLog,
) -> Result<()> {
    ensure!(!examples.is_empty(), "there is no example to learn from");
    let model = GptModern::new(&tuning.config, tuning.parameters.root())?;
    let twin = GptModern::new(&tuning.config, tuning.parameters.inference().root())?;
    let lengths = examples.iter().map(|example| example.ids.len()).collect();
    let mut order = Order::new(lengths, config.curriculum, config.batch_size, config.seed);
    let total = config.schedule.total;
    if let Some(exam) = exam.filter(|_| tuning.state.step == 0) {
        exam.sit(&twin, tuning, outputs, log)?; // what there is to improve on
    }
    while tuning.state.step < total && !tuning.state.passed {
        let step = tuning.state.step + 1;
        let batches = batches(&mut order, step, (examples, config), model.device())?;
        let counts: Vec<usize> = batches.iter().map(Batch::n_targets).collect();
        let parameters = &tuning.parameters;
        let loss_of = |batch: &Batch| Ok(batch.loss(&model)?);
        let (loss, mut grads) = gradients_of(parameters, &batches, &counts, 1., loss_of)?;
        let norm = clip_grad_norm(&mut grads, parameters, config.grad_clip)?;
        let rate = config.schedule.at(step);
        if let Some(alarm) = log.alarm(step, loss, rate, norm)? {
            bail!(alarm);
        }
        tuning.optimizer.step(&grads, rate)?;
        tuning.state.step = step;

        let tokens = batches.iter().map(Batch::n_tokens).sum();
        let share = counts.iter().sum::<usize>() as f64 / tokens as f64;
        log.step(&Figures { step, loss, rate, norm, tokens }, json!({ "learned_share": share }))?;
        if let Some(exam) = exam.filter(|exam| step == total || exam.due(step)) {
            exam.sit(&twin, tuning, outputs, log)?;
        }
        let stop = outputs.stop(step);
        if step == total || stop || tuning.state.passed || outputs.save_due(step) {
            outputs.save(tuning)?;
        }
        if stop {
            break;
        }
    }
    Ok(())
}

/// What a step, counted from 1, learns from.
fn batches(
    order: &mut Order,
    step: usize,
    (examples, config): (&[Tokens], &TrainConfig),
    device: &Device,
) -> Result<Vec<Batch>> {
    let first = (step - 1) * config.accumulate;
    let batch = |number| {
        let chosen = order.batch(number).iter();
        let chosen: Vec<Tokens> = chosen.map(|&example| examples[example].clone()).collect();
        Ok(match config.rows {
            Rows::Padded => Batch::padded(&chosen, device)?,
            Rows::Packed(width) => Batch::packed(&chosen, width, device)?,
        })
    };
    (first..first + config.accumulate).map(batch).collect()
}
