//! Log of a run: progress line, rows of metrics, alarms. It shows the reward, not the loss, whose
//! value is near 0 while every ratio is 1, although its gradient is not.

use std::time::{Duration, Instant};

use anyhow::Result;
use experiment::RunFolder;
use experiment::metrics_writer::{MetricsWriter, extend_row};
use experiment::progress::ProgressLine;
use experiment::tracker::Tracker;
use serde_json::{Value, json};

use crate::evaluation::GrpoEvalMetrics;
use crate::experience::GrpoExperience;
use crate::run_state::RunState;
use crate::step_metrics::{GrpoStepMetrics, LogRow, PhaseTimings, average_metrics};

/// Share of terminated completions below which the policy does not stop.
const MIN_EOS_RATE: f64 = 0.05;
/// Difference between sampler and loss, in nats per token, that rounding does not explain.
const MAX_SAMPLER_DIFF: f64 = 0.02;

/// Progress line, metrics writer and counters of a run.
pub struct GrpoLog {
    progress: ProgressLine,
    metrics_writer: MetricsWriter,
    log_interval: usize,
    /// Part of the log that checkpoints keep.
    pub run_state: RunState,
    /// Exact match at each validation, with the number of tokens sampled before it.
    pub validation_by_tokens: Vec<(usize, f64)>,
    /// Time of each phase in this process.
    pub timings: PhaseTimings,
}

impl GrpoLog {
    /// Log of a run of `steps` steps that is at `step` with state `run_state`; it writes a row
    /// every `log_interval` steps.
    ///
    /// # Errors
    /// Never in practice: the progress bar's template is fixed.
    pub fn new(
        steps: usize,
        step: usize,
        run_state: RunState,
        log_interval: usize,
    ) -> Result<Self> {
        Ok(Self {
            progress: ProgressLine::resume_from(steps, step)?,
            metrics_writer: MetricsWriter::new([
                ("reward_mean", "reward, training"),
                ("val_reward", "reward, validation (greedy)"),
            ]),
            log_interval,
            run_state,
            validation_by_tokens: Vec::new(),
            timings: PhaseTimings::default(),
        })
    }

    /// Log that also writes to `folder`, which already contains `rows`, and to `tracker`.
    pub fn with_run_folder(mut self, folder: RunFolder, tracker: Tracker, rows: &[Value]) -> Self {
        self.metrics_writer = self.metrics_writer.with_run_folder(folder, tracker, rows);
        self
    }

    /// Runs `work` and adds its time to `phase`.
    pub fn time_phase<R>(
        &mut self,
        phase: fn(&mut PhaseTimings) -> &mut Duration,
        work: impl FnOnce() -> R,
    ) -> R {
        let start = Instant::now();
        let result = work();
        *phase(&mut self.timings) += start.elapsed();
        result
    }

    /// Logs a step: its experience, its optimizer steps and the learning rate. Every `log_interval`
    /// steps, the means since the last row become a row.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn log_step(
        &mut self,
        step: usize,
        experience: &GrpoExperience,
        updates: &[GrpoStepMetrics],
        lr: f64,
    ) -> Result<()> {
        let row = LogRow::from_experience(experience, updates);
        self.run_state.n_tokens += row.n_tokens;
        self.run_state.zero_advantage_steps += usize::from(row.zero_advantage);
        self.progress.update_with_message(
            step - 1,
            &format!("reward {:.3}", row.reward_mean),
            row.n_tokens,
        );
        self.log_alarms(step, &row)?;
        self.run_state.recent_rows.push(row);
        if !step.is_multiple_of(self.log_interval) {
            return Ok(());
        }
        self.log_row(step, lr)?;
        if let Some(tracker) = self.metrics_writer.tracker() {
            tracker.log_histogram(step, "reward", &experience.rewards)?;
        }
        Ok(())
    }

    /// Writes a row of the means since the last row, if there are steps since then.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn log_row(&mut self, step: usize, lr: f64) -> Result<()> {
        let recent = std::mem::take(&mut self.run_state.recent_rows);
        if recent.is_empty() {
            return Ok(());
        }
        let mut row = average_metrics(&recent, &self.timings);
        let n_tokens = self.run_state.n_tokens;
        let speed = self.progress.tokens_per_second();
        extend_row(&mut row, json!({ "lr": lr, "tokens": n_tokens, "tokens_per_s": speed }));
        self.metrics_writer.write_row(step, row)
    }

    /// Raises the alarms of a step, each once in a run.
    fn log_alarms(&mut self, step: usize, row: &LogRow) -> Result<()> {
        if row.zero_advantage {
            let effect = match row.update {
                Some(_) => "only the KL term moves the policy",
                None => "the policy is not updated",
            };
            self.alarm_once(
                step,
                "no completion is better than the others of its group, so there is nothing to \
                 learn from",
                &format!(
                    "(mean reward {:.3}; {effect}): is the reward ever earned, or always? Do \
                     completions end with a stop token?",
                    row.reward_mean
                ),
            )?;
        }
        if row.eos_rate < MIN_EOS_RATE {
            self.alarm_once(
                step,
                "fewer than 5 % of the completions end with a stop token:",
                "raise --max-new-tokens, or fine-tune the model to stop",
            )?;
        }
        match row.update {
            Some((_, diff)) if diff > MAX_SAMPLER_DIFF => self.alarm_once(
                step,
                "sampler/trainer mismatch before the first update:",
                &format!(
                    "log-probabilities differ by {diff:.3} nats per token; \
                     --importance-sampling-cap corrects for it"
                ),
            ),
            _ => Ok(()),
        }
    }

    /// Raises the alarm `cause` with `details`, unless the run has raised `cause` before.
    fn alarm_once(&mut self, step: usize, cause: &str, details: &str) -> Result<()> {
        if self.run_state.alarms.iter().any(|raised| raised == cause) {
            return Ok(());
        }
        self.run_state.alarms.push(cause.to_string());
        self.log_alarm(step, &format!("step {step}: {cause} {details}"))
    }

    /// Prints and records an alarm.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn log_alarm(&mut self, step: usize, alarm: &str) -> Result<()> {
        self.progress.suspend(|| println!("ALARM: {alarm}"));
        self.metrics_writer.write_row(step, json!({ "alarm": alarm }))
    }

    /// Logs a validation after `step` steps.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn log_validation(&mut self, step: usize, metrics: &GrpoEvalMetrics) -> Result<()> {
        let GrpoEvalMetrics {
            exact_match, relaxed_match, reward_mean, eos_rate, length_mean, ..
        } = *metrics;
        let (seconds, n_tokens) = (self.timings.total().as_secs_f64(), self.run_state.n_tokens);
        self.validation_by_tokens.push((n_tokens, exact_match));
        let summary = format!(
            "step {step}, {seconds:.0} s, {n_tokens} tokens sampled: validation reward \
             {reward_mean:.3}, exact match {exact_match:.3}, relaxed {relaxed_match:.3}, eos \
             {eos_rate:.3}"
        );
        self.progress.suspend(|| println!("{summary}"));
        self.metrics_writer.write_row(
            step,
            json!({
                "val_exact_match": exact_match, "val_relaxed_match": relaxed_match,
                "val_reward": reward_mean, "val_eos_rate": eos_rate, "val_length": length_mean,
                "seconds": seconds,
            }),
        )?;
        self.metrics_writer.write_curves_svg("reward.svg", "reward")
    }

    /// Runs `work` outside the steps: its time does not count as training time.
    pub fn suspend<R>(&mut self, work: impl FnOnce() -> R) -> R {
        self.progress.suspend(work)
    }

    /// Completes the tracker's files at the end of the run.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn finish(self) -> Result<()> {
        self.metrics_writer.finish()
    }
}
