//! What a run shows and records: the reward above all. The loss says little (its value is 0 where every ratio is 1, and the
//! gradient is not), so it is recorded and not shown.

use std::time::{Duration, Instant};

use anyhow::Result;
use scaling::metrics_writer::{MetricsWriter, extend_row};
use scaling::tracker::Tracker;
use serde_json::{Value, json};
use tiny_gpt::RunFolder;
use tiny_gpt::progress::ProgressLine;

use crate::evaluation::GrpoEvalMetrics;
use crate::experience::GrpoExperience;
use crate::run_state::RunState;
use crate::step_metrics::{GrpoStepMetrics, LogRow, PhaseTimings, average_metrics};

/// Shows a run and records it.
pub struct GrpoLog {
    progress: ProgressLine,
    metrics_writer: MetricsWriter,
    log_interval: usize,
    /// What a checkpoint keeps of it.
    pub run_state: RunState,
    /// The share that was right at each look, after so many tokens.
    pub validation_curve: Vec<(usize, f64)>,
    /// Where the time of this process went.
    pub timings: PhaseTimings,
}

impl GrpoLog {
    /// Of a run of `steps` steps that is at `step` and has come `so_far`; a row of figures every `interval`.
    ///
    /// # Errors
    /// Never in practice: the progress bar's template is fixed.
    pub fn new(steps: usize, step: usize, so_far: RunState, interval: usize) -> Result<Self> {
        Ok(Self {
            progress: ProgressLine::resume_from(steps, step)?,
            metrics_writer: MetricsWriter::new([
                ("reward_mean", "reward of what was drawn"),
                ("val_reward", "reward, validation, greedy"),
            ]),
            log_interval: interval,
            run_state: so_far,
            validation_curve: Vec::new(),
            timings: PhaseTimings::default(),
        })
    }

    /// Records into `folder`, which has these rows, and `tracker`.
    pub fn with_run_folder(mut self, folder: RunFolder, tracker: Tracker, rows: &[Value]) -> Self {
        self.metrics_writer = self.metrics_writer.with_run_folder(folder, tracker, rows);
        self
    }

    /// Runs `work`, whose time is that of `part`.
    pub fn time_phase<R>(
        &mut self,
        part: fn(&mut PhaseTimings) -> &mut Duration,
        work: impl FnOnce() -> R,
    ) -> R {
        let begin = Instant::now();
        let result = work();
        *part(&mut self.timings) += begin.elapsed();
        result
    }

    /// A step: what was drawn, the updates that learned from it, and the learning rate. Every so often the figures become a row.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn log_step(
        &mut self,
        step: usize,
        drawn: &GrpoExperience,
        updates: &[GrpoStepMetrics],
        rate: f64,
    ) -> Result<()> {
        let row = LogRow::from_experience(drawn, updates);
        self.run_state.n_tokens += row.n_tokens;
        self.run_state.zero_advantage_steps += usize::from(row.zero_advantage);
        self.progress.update_with_message(
            step - 1,
            &format!("reward {:.3}", row.reward_mean),
            row.n_tokens,
        );
        self.check_alarms(step, &row)?;
        self.run_state.recent_rows.push(row);
        if !step.is_multiple_of(self.log_interval) {
            return Ok(());
        }
        self.log_row(step, rate)?;
        if let Some(tracker) = self.metrics_writer.tracker() {
            tracker.log_histogram(step, "reward", &drawn.rewards)?;
        }
        Ok(())
    }

    /// Makes a row of the figures since the last one, if there are any: at the end of a run.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn log_row(&mut self, step: usize, rate: f64) -> Result<()> {
        let recent = std::mem::take(&mut self.run_state.recent_rows);
        if recent.is_empty() {
            return Ok(());
        }
        let (mut row, tokens) = (average_metrics(&recent, &self.timings), self.run_state.n_tokens);
        let speed = self.progress.tokens_per_second();
        extend_row(&mut row, json!({ "lr": rate, "tokens": tokens, "tokens_per_s": speed }));
        self.metrics_writer.write_row(step, row)
    }

    /// Says aloud, once, what a person who reads the figures would notice.
    fn check_alarms(&mut self, step: usize, row: &LogRow) -> Result<()> {
        if row.zero_advantage {
            let moved = match row.update {
                Some(_) => "only the reference moves the policy",
                None => "the policy is not moved",
            };
            self.alarm_once(
                step,
                "no completion is better than the others of its group, so nothing can be learned",
                &format!(
                    "(the mean reward is {:.3}; {moved}): is it ever earned, or always? Does any completion end?",
                    row.reward_mean
                ),
            )?;
        }
        if row.eos_rate < 0.05 {
            let what = "hardly any completion ends before the budget:";
            self.alarm_once(step, what, "raise --max-new-tokens, or teach the model to end first")?;
        }
        match row.update {
            Some((_, mismatch)) if mismatch > 0.02 => self.alarm_once(
                step,
                "before a step was taken, the loss sees other probabilities than the sampler noted,",
                &format!(
                    "by {mismatch:.3} nats a token: --importance-sampling-cap corrects it"
                ),
            ),
            _ => Ok(()),
        }
    }

    /// `what` is said once in a run.
    fn alarm_once(&mut self, step: usize, what: &str, more: &str) -> Result<()> {
        if self.run_state.alarms.iter().any(|said| said == what) {
            return Ok(());
        }
        self.run_state.alarms.push(what.to_string());
        self.log_alarm(step, &format!("step {step}: {what} {more}"))
    }

    /// Says aloud what is wrong, and records it.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn log_alarm(&mut self, step: usize, alarm: &str) -> Result<()> {
        self.progress.suspend(|| println!("ALARM: {alarm}"));
        self.metrics_writer.write_row(step, json!({ "alarm": alarm }))
    }

    /// What was found on validation problems after `step` steps.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn log_validation(&mut self, step: usize, found: &GrpoEvalMetrics) -> Result<()> {
        let GrpoEvalMetrics {
            exact_match,
            relaxed_match: form_forgiven,
            reward_mean,
            eos_rate,
            length_mean,
            ..
        } = *found;
        let (seconds, tokens) = (self.timings.total().as_secs_f64(), self.run_state.n_tokens);
        self.validation_curve.push((tokens, exact_match));
        let said = format!(
            "step {step}, {seconds:.0} s, {tokens} tokens drawn: right {exact_match:.3}, form forgiven {form_forgiven:.3}, reward \
             {reward_mean:.3}, ended {eos_rate:.3}"
        );
        self.progress.suspend(|| println!("{said}"));
        self.metrics_writer.write_row(
            step,
            json!({
                "val_exact_match": exact_match, "val_relaxed_match": form_forgiven, "val_reward": reward_mean,
                "val_eos_rate": eos_rate, "val_length": length_mean, "seconds": seconds,
            }),
        )?;
        self.metrics_writer.write_curves_svg("reward.svg", "reward")
    }

    /// Runs `work` that is no step: its time does not count.
    pub fn suspend<R>(&mut self, work: impl FnOnce() -> R) -> R {
        self.progress.suspend(work)
    }

    /// The run has ended; the tracker's files are complete.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn finish(self) -> Result<()> {
        self.metrics_writer.finish()
    }
}
