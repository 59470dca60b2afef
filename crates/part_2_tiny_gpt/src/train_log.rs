//! Log of a training run: the progress line and samples on screen; metrics, loss curve and the best
//! model in the run folder.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};
use tensor_core::{Parameters, Rng};

use crate::interrupt::Interrupt;
use crate::loss_curve::{self, Curve};
use crate::progress::ProgressLine;
use crate::run_folder::RunFolder;
use crate::{ByteTokenizer, LanguageModel, LmEvalMetrics, Sampling};

/// Steps between two rows of training figures in `metrics.jsonl`.
const LOG_INTERVAL: usize = 10;

/// Shows a run and records it.
pub struct TrainLog {
    progress: ProgressLine,
    folder: Option<RunFolder>,
    /// Mean training loss of each interval, and validation loss, by step.
    train: Curve,
    validation: Curve,
    recent: Vec<f32>,
    interrupt: Interrupt,
    sample: (Sampling, usize),
}

impl TrainLog {
    /// Shows a run of `steps` steps and records nothing. Samples take 200 tokens.
    pub fn new(steps: usize) -> Result<Self> {
        Ok(Self {
            progress: ProgressLine::new(steps)?,
            folder: None,
            train: Curve::new("training"),
            validation: Curve::new("validation"),
            recent: Vec::new(),
            interrupt: Interrupt::default(),
            sample: (Sampling::new(1., Some(50), None), 200),
        })
    }

    /// Records into the run folder `path`, its `settings` first.
    ///
    /// # Errors
    /// When the folder cannot be written, or what stands there cannot be moved aside.
    pub fn with_run_folder(mut self, path: &Path, settings: &impl Serialize) -> Result<Self> {
        self.folder = Some(RunFolder::create(path, settings)?);
        Ok(self)
    }

    /// Samples `tokens` tokens by `sampling`.
    pub fn with_sampling(mut self, sampling: Sampling, tokens: usize) -> Self {
        self.sample = (sampling, tokens);
        self
    }

    /// From now on, Ctrl-C ends the run after the step in progress, the model saved; a second one ends it at once.
    pub fn stop_on_interrupt(mut self) -> Result<Self> {
        self.interrupt = Interrupt::listen()?;
        Ok(self)
    }

    /// Whether the run was asked to end.
    pub fn is_interrupted(&self) -> bool {
        self.interrupt.is_requested()
    }

    /// A training step: its loss, learning rate, gradient norm before clipping, and tokens.
    pub fn log_step(
        &mut self,
        step: usize,
        loss: f32,
        lr: f64,
        norm: f64,
        tokens: usize,
    ) -> Result<()> {
        self.progress.update(step, loss, tokens);
        self.recent.push(loss);
        if (step + 1).is_multiple_of(LOG_INTERVAL) {
            let mean = self.recent.iter().sum::<f32>() / self.recent.len() as f32;
            self.recent.clear();
            self.train.push(step + 1, f64::from(mean));
            let tokens_per_second = self.progress.tokens_per_second();
            self.write(json!({
                "step": step + 1, "loss": mean, "lr": lr, "grad_norm": norm,
                "tokens_per_s": tokens_per_second,
            }))?;
        }
        Ok(())
    }

    /// The validation loss after `step` steps.
    pub fn log_validation(&mut self, step: usize, found: &LmEvalMetrics) -> Result<()> {
        let LmEvalMetrics { loss, bits_per_byte, .. } = *found;
        self.validation.push(step, loss);
        self.progress.suspend(|| {
            println!(
                "step {step}: validation loss {loss:.4} nats, {bits_per_byte:.4} bits per byte"
            );
        });
        self.write(json!({ "step": step, "val_loss": loss, "bits_per_byte": bits_per_byte }))?;
        if let Some(folder) = &self.folder {
            loss_curve::write_svg(
                &folder.path().join("loss.svg"),
                &[&self.train, &self.validation],
            )?;
        }
        Ok(())
    }

    /// Runs `work` that is not a step; its time does not count.
    pub fn suspend<R>(&mut self, work: impl FnOnce() -> R) -> R {
        self.progress.suspend(work)
    }

    /// Saves the model, if the run is recorded.
    pub fn save_model(
        &mut self,
        model: &impl LanguageModel,
        parameters: &Parameters,
    ) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        self.progress.suspend(|| model.save(&folder.path().join("model"), parameters))
    }

    /// Every `interval` steps (0: never): what `model`, an inference twin, writes now. Always from the same seed, which
    /// is nobody else's.
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

    /// The validation losses so far.
    pub fn validation_curve(&self) -> &Curve {
        &self.validation
    }

    /// Training tokens per second so far, evaluation and samples left out.
    pub fn tokens_per_second(&self) -> f64 {
        self.progress.tokens_per_second()
    }

    fn write(&mut self, row: Value) -> Result<()> {
        self.folder.as_mut().map_or(Ok(()), |folder| folder.append_metrics(&row))
    }
}
