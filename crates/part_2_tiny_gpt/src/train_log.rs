//! Log of a training run: the progress line and samples on screen; metrics, loss curve and the best
//! model in the run folder.

use std::path::Path;

use anyhow::Result;
use experiment::interrupt::Interrupt;
use experiment::loss_curve::{self, Curve};
use experiment::progress::ProgressLine;
use experiment::run_folder::RunFolder;
use serde::Serialize;
use serde_json::{Value, json};
use tensor_core::{Parameters, Rng};

use crate::{ByteTokenizer, LanguageModel, LmEvalMetrics, Sampling};

/// Steps between two rows of training metrics in `metrics.jsonl`.
const LOG_INTERVAL: usize = 10;

/// Log of a run: prints its progress and records its metrics.
pub struct TrainLog {
    progress: ProgressLine,
    folder: Option<RunFolder>,
    /// Mean training loss of each interval, by step.
    train: Curve,
    /// Validation loss, by step.
    validation: Curve,
    /// Losses since the last row.
    recent_losses: Vec<f32>,
    interrupt: Interrupt,
    /// Sampling strategy and length of the printed samples.
    sample: (Sampling, usize),
}

impl TrainLog {
    /// Log of a run of `steps` steps, on the screen only. Samples have 200 tokens.
    pub fn new(steps: usize) -> Result<Self> {
        Ok(Self {
            progress: ProgressLine::new(steps)?,
            folder: None,
            train: Curve::new("training"),
            validation: Curve::new("validation"),
            recent_losses: Vec::new(),
            interrupt: Interrupt::default(),
            sample: (Sampling::new(1., Some(50), None), 200),
        })
    }

    /// Adds the run folder `path`, to which it writes the `settings`.
    ///
    /// # Errors
    /// Those of [`RunFolder::create`].
    pub fn with_run_folder(mut self, path: &Path, settings: &impl Serialize) -> Result<Self> {
        self.folder = Some(RunFolder::create(path, settings)?);
        Ok(self)
    }

    /// Sets the strategy and the length of the printed samples.
    pub fn with_sampling(mut self, sampling: Sampling, tokens: usize) -> Self {
        self.sample = (sampling, tokens);
        self
    }

    /// Makes Ctrl-C stop the run after the current step, with the model saved; a second one exits
    /// at once.
    pub fn stop_on_interrupt(mut self) -> Result<Self> {
        self.interrupt = Interrupt::listen()?;
        Ok(self)
    }

    /// Returns whether a stop was requested.
    pub fn is_interrupted(&self) -> bool {
        self.interrupt.is_requested()
    }

    /// Logs a training step: loss, learning rate, gradient norm before clipping, and number of
    /// tokens.
    pub fn log_step(
        &mut self,
        step: usize,
        loss: f32,
        lr: f64,
        grad_norm: f64,
        tokens: usize,
    ) -> Result<()> {
        self.progress.update(step, loss, tokens);
        self.recent_losses.push(loss);
        if (step + 1).is_multiple_of(LOG_INTERVAL) {
            let mean = self.recent_losses.iter().sum::<f32>() / self.recent_losses.len() as f32;
            self.recent_losses.clear();
            self.train.push(step + 1, f64::from(mean));
            let tokens_per_second = self.progress.tokens_per_second();
            self.append(json!({
                "step": step + 1, "loss": mean, "lr": lr, "grad_norm": grad_norm,
                "tokens_per_s": tokens_per_second,
            }))?;
        }
        Ok(())
    }

    /// Logs the validation loss after `step` steps.
    pub fn log_validation(&mut self, step: usize, metrics: &LmEvalMetrics) -> Result<()> {
        let LmEvalMetrics { loss, bits_per_byte, .. } = *metrics;
        self.validation.push(step, loss);
        self.progress.suspend(|| {
            println!(
                "step {step}: validation loss {loss:.4} nats, {bits_per_byte:.4} bits per byte"
            );
        });
        self.append(json!({ "step": step, "val_loss": loss, "bits_per_byte": bits_per_byte }))?;
        if let Some(folder) = &self.folder {
            loss_curve::write_svg(
                &folder.path().join("loss.svg"),
                &[&self.train, &self.validation],
            )?;
        }
        Ok(())
    }

    /// Runs `work` that is not a step: its time does not count as training time.
    pub fn suspend<R>(&mut self, work: impl FnOnce() -> R) -> R {
        self.progress.suspend(work)
    }

    /// Saves the model, if there is a run folder.
    pub fn save_model(
        &mut self,
        model: &impl LanguageModel,
        parameters: &Parameters,
    ) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        self.progress.suspend(|| model.save(&folder.path().join("model"), parameters))
    }

    /// Prints a sample of `model`, an inference copy, every `interval` steps (0: never). Each
    /// sample has its own generator with the same seed, so it does not affect the training.
    pub fn log_sample(
        &mut self,
        step: usize,
        interval: usize,
        model: &impl LanguageModel,
    ) -> Result<()> {
        if interval == 0 || (!step.is_multiple_of(interval) && !self.is_interrupted()) {
            return Ok(());
        }
        let (sampling, n) = self.sample;
        let prompt = ByteTokenizer.encode("\n");
        self.progress.suspend(|| {
            let tokens = model.generate(&prompt, n, &sampling, &mut Rng::new(0))?;
            println!(
                "--- sample after {step} steps\n{}\n---",
                ByteTokenizer.decode(&tokens).trim()
            );
            Ok(())
        })
    }

    /// Validation losses so far.
    pub fn validation_curve(&self) -> &Curve {
        &self.validation
    }

    /// Training tokens per second so far, without the time of evaluations and samples.
    pub fn tokens_per_second(&self) -> f64 {
        self.progress.tokens_per_second()
    }

    fn append(&mut self, row: Value) -> Result<()> {
        self.folder.as_mut().map_or(Ok(()), |folder| folder.append_metrics(&row))
    }
}
