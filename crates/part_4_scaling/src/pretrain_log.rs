//! 4.5 Logging: the figures of a run on the terminal, in `metrics.jsonl`, as a curve, and in a tracker's own files.

use anyhow::Result;
use candle_core::{DType, Tensor};
use modern::sampler::{Sampler, SamplingStrategy};
use modern::{GenerateConfig, GptModern, SkipSpecialTokens, Tokenizer, generate};
use serde_json::{Map, Value, json};
use tensor_core::Rng;
use tiny_gpt::progress::ProgressLine;
use tiny_gpt::{LmEvalMetrics, RunFolder};

use crate::PretrainState;
use crate::alarms::TrainingAlarms;
use crate::machine::resident_bytes;
use crate::metrics_writer::MetricsWriter;
use crate::step_metrics::{LogConfig, PretrainStepMetrics};
use crate::tracker::Tracker;

/// Shows a run and records it.
pub struct PretrainLog {
    config: LogConfig,
    progress: ProgressLine,
    metrics_writer: MetricsWriter,
    alarms: TrainingAlarms,
    recent_losses: Vec<f64>,
    n_skipped_steps: usize,
}

impl PretrainLog {
    /// Records into `folder` and `tracker` a run that has been at `step` and has these rows of figures.
    ///
    /// # Errors
    /// Never in practice: the progress bar's template is fixed.
    pub fn new(
        config: LogConfig,
        folder: RunFolder,
        tracker: Tracker,
        (step, rows): (usize, &[Value]),
    ) -> Result<Self> {
        let record = MetricsWriter::new([("loss", "training"), ("val_loss", "validation")]);
        Ok(Self {
            config,
            progress: ProgressLine::resume_from(config.total_steps, step)?,
            metrics_writer: record.with_run_folder(folder, tracker, rows),
            alarms: TrainingAlarms::new(config.warmup_steps),
            recent_losses: Vec::new(),
            n_skipped_steps: 0,
        })
    }

    /// Runs `work` that is no step; its time does not count.
    pub fn suspend<R>(&mut self, work: impl FnOnce() -> R) -> R {
        self.progress.suspend(work)
    }

    /// Says aloud what is wrong with a step, if anything is. What makes it pointless to go on comes back.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn check_alarms(
        &mut self,
        step: usize,
        loss: f64,
        rate: f64,
        norm: f64,
    ) -> Result<Option<String>> {
        let Some(alarm) = self.alarms.check(step, loss, rate, norm) else {
            return Ok(None);
        };
        self.metrics_writer.write_row(step, json!({ "alarm": alarm }))?;
        if !loss.is_finite() || !norm.is_finite() {
            return Ok(Some(alarm));
        }
        self.progress.suspend(|| println!("ALARM: {alarm}"));
        Ok(None)
    }

    /// A step that overflowed f16 and was not taken.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn log_skipped_step(&mut self, run: &PretrainState) -> Result<()> {
        self.n_skipped_steps += 1;
        let (skipped, scale) = (self.n_skipped_steps, run.loss_scale());
        self.metrics_writer.write_row(
            run.progress.step + 1,
            json!({ "n_skipped_steps": skipped, "loss_scale": scale }),
        )
    }

    /// A step that was taken. Every so often the figures become a row: the mean loss since the last one, and those of the
    /// moment.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn log_step(&mut self, figures: &PretrainStepMetrics, run: &PretrainState) -> Result<()> {
        let PretrainStepMetrics { step, epoch, loss, lr: rate, grad_norm: norm } = *figures;
        self.progress.update(step - 1, loss as f32, self.config.tokens_per_step);
        self.recent_losses.push(loss);
        if !step.is_multiple_of(self.config.interval) {
            return Ok(());
        }
        let mean = self.recent_losses.iter().sum::<f64>() / self.recent_losses.len() as f64;
        self.recent_losses.clear();
        let tokens_per_second = self.progress.tokens_per_second();
        let mut row = json!({
            "loss": mean, "lr": rate, "grad_norm": norm, "epoch": epoch,
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

    /// The validation loss after `step` steps.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn log_validation(&mut self, step: usize, found: &LmEvalMetrics) -> Result<()> {
        let LmEvalMetrics { loss, bits_per_byte, .. } = *found;
        self.progress.suspend(|| {
            println!("step {step}: validation loss {loss:.4} nats per token, {bits_per_byte:.4} bits per byte");
        });
        self.metrics_writer
            .write_row(step, json!({ "val_loss": loss, "bits_per_byte": bits_per_byte }))?;
        self.metrics_writer.write_curves_svg("loss.svg", "loss, nats per token")
    }

    /// What `model`, an inference twin, writes after `step` steps. Always from the same seed.
    ///
    /// # Errors
    /// When the model's weights are damaged.
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
            let written =
                generate(model, &[vec![eos]], &config, &mut Rng::new(0), |_, _| Ok(()))?.remove(0);
            let text = tokenizer.decode(&written.tokens, SkipSpecialTokens::Yes)?;
            println!("--- sample after {step} steps\n{}\n---", text.trim());
            anyhow::Ok(text)
        })?;
        self.metrics_writer
            .tracker()
            .map_or(Ok(()), |tracker| tracker.log_text(step, "sample", &text))
    }

    /// How the queries, keys and values of each layer are spread over a text, `ids: (1, T)`, that `model`, an inference
    /// twin, reads. What grows without end here is the first sign of a run that will fail.
    ///
    /// # Errors
    /// When the model's weights are damaged.
    pub fn log_qkv_statistics(
        &mut self,
        step: usize,
        model: &GptModern,
        ids: &Tensor,
    ) -> Result<()> {
        let mut sizes = Map::new();
        let layers = self.progress.suspend(|| model.queries_keys_values(ids))?;
        for (layer, seen) in layers.iter().enumerate() {
            for (name, tensor) in ["queries", "keys", "values"].iter().zip(seen) {
                let values: Vec<f32> = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
                let squares: f64 = values.iter().map(|&x| f64::from(x).powi(2)).sum();
                let name = format!("layer_{layer}/{name}");
                if let Some(tracker) = self.metrics_writer.tracker() {
                    tracker.log_histogram(step, &name, &values)?;
                }
                sizes.insert(format!("{name}_rms"), (squares / values.len() as f64).sqrt().into());
            }
        }
        self.metrics_writer.write_row(step, Value::Object(sizes))
    }

    /// Training tokens per second so far, evaluation and samples left out.
    pub fn tokens_per_second(&self) -> f64 {
        self.progress.tokens_per_second()
    }

    /// The run has ended; the tracker's files are complete.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn finish(self) -> Result<()> {
        self.metrics_writer.finish()
    }
}
