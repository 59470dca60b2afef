//! 4.5 Logging: metrics of a run on the terminal, in `metrics.jsonl`, as a curve plot and in a
//! tracker's files.

use anyhow::Result;
use candle_core::{DType, Tensor};
use experiment::RunFolder;
use experiment::alarms::TrainingAlarms;
use experiment::machine::resident_bytes;
use experiment::metrics_writer::MetricsWriter;
use experiment::progress::ProgressLine;
use experiment::tracker::Tracker;
use model_io::{SkipSpecialTokens, Tokenizer};
use modern::sampler::{Sampler, SamplingStrategy};
use modern::{GenerateConfig, GptModern, generate};
use serde_json::{Map, Value, json};
use tensor_core::Rng;
use tiny_gpt::LmEvalMetrics;

use crate::PretrainState;
use crate::step_metrics::{LogConfig, PretrainStepMetrics};

/// Log of a pretraining run.
pub struct PretrainLog {
    config: LogConfig,
    progress: ProgressLine,
    metrics_writer: MetricsWriter,
    alarms: TrainingAlarms,
    recent_losses: Vec<f64>,
    n_skipped_steps: usize,
}

impl PretrainLog {
    /// Log into `folder` and `tracker` of a run that is at `step` and has these rows of metrics.
    ///
    /// # Errors
    /// Never in practice: the progress bar's template is fixed.
    pub fn new(
        config: LogConfig,
        folder: RunFolder,
        tracker: Tracker,
        (step, rows): (usize, &[Value]),
    ) -> Result<Self> {
        let metrics_writer = MetricsWriter::new([("loss", "training"), ("val_loss", "validation")]);
        Ok(Self {
            config,
            progress: ProgressLine::resume_from(config.total_steps, step)?,
            metrics_writer: metrics_writer.with_run_folder(folder, tracker, rows),
            alarms: TrainingAlarms::new(config.warmup_steps),
            recent_losses: Vec::new(),
            n_skipped_steps: 0,
        })
    }

    /// Runs `work` outside a training step: its time does not count for the throughput.
    pub fn suspend<R>(&mut self, work: impl FnOnce() -> R) -> R {
        self.progress.suspend(work)
    }

    /// Checks a step for problems, and prints and logs an alarm if there is one. Returns the alarm
    /// if the loss or the gradient norm is not finite, so that the run must stop.
    ///
    /// # Errors
    /// When the alarm cannot be written.
    pub fn log_alarms(
        &mut self,
        step: usize,
        loss: f64,
        lr: f64,
        grad_norm: f64,
    ) -> Result<Option<String>> {
        let Some(alarm) = self.alarms.check(step, loss, lr, grad_norm) else {
            return Ok(None);
        };
        self.metrics_writer.write_row(step, json!({ "alarm": alarm }))?;
        if !loss.is_finite() || !grad_norm.is_finite() {
            return Ok(Some(alarm));
        }
        self.progress.suspend(|| println!("ALARM: {alarm}"));
        Ok(None)
    }

    /// Logs a step that was skipped because its gradients overflowed f16.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn log_skipped_step(&mut self, run: &PretrainState) -> Result<()> {
        self.n_skipped_steps += 1;
        let (skipped, scale) = (self.n_skipped_steps, run.loss_scale());
        self.metrics_writer.write_row(
            run.progress.step + 1,
            json!({ "n_skipped_steps": skipped, "loss_scale": scale }),
        )
    }

    /// Logs a training step. Every `interval` steps it writes a row: the mean loss since the last
    /// row and the other metrics of this step.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn log_step(&mut self, metrics: &PretrainStepMetrics, run: &PretrainState) -> Result<()> {
        let PretrainStepMetrics { step, epoch, loss, lr, grad_norm } = *metrics;
        self.progress.update(step - 1, loss as f32, self.config.tokens_per_step);
        self.recent_losses.push(loss);
        if !step.is_multiple_of(self.config.interval) {
            return Ok(());
        }
        let mean_loss = self.recent_losses.iter().sum::<f64>() / self.recent_losses.len() as f64;
        self.recent_losses.clear();
        let tokens_per_second = self.progress.tokens_per_second();
        let mut row = json!({
            "loss": mean_loss, "lr": lr, "grad_norm": grad_norm, "epoch": epoch,
            "tokens": step * self.config.tokens_per_step,
            "tokens_per_s": tokens_per_second,
            "mfu": tokens_per_second * self.config.mfu_per_token_per_s,
            "memory_mb": resident_bytes().map(|bytes| bytes / 1_000_000),
        });
        if run.progress.grad_scaler.is_some() {
            row["loss_scale"] = json!(run.loss_scale());
        }
        self.metrics_writer.write_row(step, row)
    }

    /// Logs the validation loss after `step` steps.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn log_validation(&mut self, step: usize, metrics: &LmEvalMetrics) -> Result<()> {
        let LmEvalMetrics { loss, bits_per_byte, .. } = *metrics;
        self.progress.suspend(|| {
            println!(
                "step {step}: validation loss {loss:.4} nats per token, \
                 {bits_per_byte:.4} bits per byte"
            );
        });
        self.metrics_writer
            .write_row(step, json!({ "val_loss": loss, "bits_per_byte": bits_per_byte }))?;
        self.metrics_writer.write_curves_svg("loss.svg", "loss, nats per token")
    }

    /// Prints and logs a sample of `model` (for inference) after `step` steps, always with the same
    /// seed.
    ///
    /// # Errors
    /// When generation fails, or the sample cannot be written.
    pub fn log_sample(
        &mut self,
        step: usize,
        model: &GptModern,
        tokenizer: &Tokenizer,
    ) -> Result<()> {
        let Some(eos) = tokenizer.eos() else { return Ok(()) };
        let sampler = Sampler::new(SamplingStrategy::from(self.config.sampling));
        let config = GenerateConfig::new(model, sampler, self.config.sample_len, vec![eos]);
        let text = self.progress.suspend(|| {
            let completion =
                generate(model, &[vec![eos]], &config, &mut Rng::new(0), |_, _| Ok(()))?.remove(0);
            let text = tokenizer.decode(&completion.tokens, SkipSpecialTokens::Yes)?;
            println!("--- sample after {step} steps\n{}\n---", text.trim());
            anyhow::Ok(text)
        })?;
        self.metrics_writer
            .tracker()
            .map_or(Ok(()), |tracker| tracker.log_text(step, "sample", &text))
    }

    /// Logs the distribution of the queries, keys and values of each layer of `model` (for
    /// inference) on `ids: (1, T)`. Unbounded growth here is the first sign of divergence.
    ///
    /// # Errors
    /// When the forward pass fails, or the row cannot be written.
    pub fn log_qkv_statistics(
        &mut self,
        step: usize,
        model: &GptModern,
        ids: &Tensor,
    ) -> Result<()> {
        let mut rms_row = Map::new();
        let layers = self.progress.suspend(|| model.queries_keys_values(ids))?;
        for (layer, tensors) in layers.iter().enumerate() {
            for (name, tensor) in ["queries", "keys", "values"].iter().zip(tensors) {
                let values: Vec<f32> = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
                let squares: f64 = values.iter().map(|&x| f64::from(x).powi(2)).sum();
                let name = format!("layer_{layer}/{name}");
                if let Some(tracker) = self.metrics_writer.tracker() {
                    tracker.log_histogram(step, &name, &values)?;
                }
                rms_row
                    .insert(format!("{name}_rms"), (squares / values.len() as f64).sqrt().into());
            }
        }
        self.metrics_writer.write_row(step, Value::Object(rms_row))
    }

    /// Training tokens per second so far, without evaluation and samples.
    pub fn tokens_per_second(&self) -> f64 {
        self.progress.tokens_per_second()
    }

    /// Completes the tracker's files at the end of the run.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn finish(self) -> Result<()> {
        self.metrics_writer.finish()
    }
}
