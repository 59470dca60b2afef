//! What a run shows and records: the reward above all. The loss says little (its value is 0 where every ratio is 1, and the
//! gradient is not), so it is recorded and not shown.

use std::time::{Duration, Instant};

use anyhow::Result;
use scaling::machine::resident_bytes;
use scaling::record::Record;
use scaling::tracker::Tracker;
use serde_json::{Value, json};
use tiny_gpt::RunFolder;
use tiny_gpt::progress::Progress;

use crate::evaluation::Evaluation;
use crate::experience::Experience;
use crate::figures::{Row, Times, Update};

/// Shows a run and records it.
pub struct RunLog {
    progress: Progress,
    record: Record,
    interval: usize,
    /// Tokens that were written, by this run in all.
    pub tokens: usize,
    /// The share that was right at each look, after so many tokens.
    pub looks: Vec<(usize, f64)>,
    /// Where the time of this process went.
    pub times: Times,
    recent: Vec<Row>,
    warned: bool,
}

impl RunLog {
    /// Of a run of `steps` steps that is at `step`; a row of figures every `interval`.
    ///
    /// # Errors
    /// Never in practice: the progress bar's template is fixed.
    pub fn new(steps: usize, step: usize, interval: usize) -> Result<Self> {
        Ok(Self {
            progress: Progress::resumed(steps, step)?,
            record: Record::new([
                ("reward_mean", "reward of what was drawn"),
                ("val_reward", "reward, validation, greedy"),
            ]),
            interval,
            tokens: 0,
            looks: Vec::new(),
            times: Times::default(),
            recent: Vec::new(),
            warned: false,
        })
    }

    /// Records into `folder`, which has these rows, and `tracker`.
    pub fn record(mut self, folder: RunFolder, tracker: Tracker, rows: &[Value]) -> Self {
        let tokens = rows.iter().filter_map(|row| row["tokens"].as_u64()).max();
        self.tokens = tokens.unwrap_or(0) as usize;
        self.record = self.record.within(folder, tracker, rows);
        self
    }

    /// Runs `work`, whose time is that of `part`.
    pub fn time<R>(
        &mut self,
        part: fn(&mut Times) -> &mut Duration,
        work: impl FnOnce() -> R,
    ) -> R {
        let begin = Instant::now();
        let result = work();
        *part(&mut self.times) += begin.elapsed();
        result
    }

    /// A step: what was drawn, the updates that learned from it, and the learning rate. Every so often the figures become a row.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn step(
        &mut self,
        step: usize,
        drawn: &Experience,
        updates: &[Update],
        rate: f64,
    ) -> Result<()> {
        let row = Row::of(drawn, updates);
        self.tokens += row.tokens;
        self.progress.step_with(step - 1, &format!("reward {:.3}", row.reward), row.tokens);
        self.warn(step, &row)?;
        self.recent.push(row);
        if !step.is_multiple_of(self.interval) {
            return Ok(());
        }
        let recent = std::mem::take(&mut self.recent);
        let mean =
            |f: &dyn Fn(&Row) -> f64| recent.iter().map(f).sum::<f64>() / recent.len() as f64;
        let of_updates = |f: &dyn Fn(&(Update, f64)) -> f64| {
            let all: Vec<f64> =
                recent.iter().filter_map(|row| row.update.as_ref()).map(f).collect();
            let n = all.len() as f64;
            (n > 0.).then(|| all.iter().sum::<f64>() / n)
        };
        let reward = mean(&|row| row.reward);
        let share =
            |part: Duration| part.as_secs_f64() / self.times.total().as_secs_f64().max(1e-9);
        let Times { generation, scoring, training } = self.times;
        let mut figures = json!({
            "reward_mean": reward, "reward_std": mean(&|row| row.std),
            "frac_groups_without_signal": mean(&|row| row.without_signal),
            "completion_length": mean(&|row| row.length), "eos_rate": mean(&|row| row.ended),
            "entropy": mean(&|row| row.entropy), "lr": rate,
            "loss": of_updates(&|(update, _)| update.loss),
            "grad_norm": of_updates(&|(update, _)| update.norm),
            "kl": of_updates(&|(update, _)| update.seen.kl),
            "clip_fraction": of_updates(&|(update, _)| update.seen.clip_fraction),
            "ratio_max": of_updates(&|(update, _)| update.seen.ratio_max),
            "sampler_mismatch": of_updates(&|(_, mismatch)| *mismatch),
            "tokens": self.tokens, "tokens_per_s": self.progress.tokens_per_second(),
            "share_generation": share(generation), "share_scoring": share(scoring),
            "share_training": share(training),
            "memory_mb": resident_bytes().map(|bytes| bytes / 1_000_000),
        });
        if let Value::Object(figures) = &mut figures {
            figures.retain(|_, figure| !figure.is_null()); // a step without an update has no loss
        }
        self.record.row(step, figures)?;
        if let Some(tracker) = self.record.tracker() {
            tracker.histogram(step, "rewards", &drawn.rewards)?;
        }
        Ok(())
    }

    /// Says aloud, once, what a person who reads the figures would notice.
    fn warn(&mut self, step: usize, row: &Row) -> Result<()> {
        if row.update.is_none() {
            let said = format!(
                "step {step}: no group has completions of different worth, so nothing was learned from"
            );
            self.progress.pause(|| println!("{said}"));
            self.record.row(step, json!({ "alarm": said }))?;
        } else if row.ended < 0.05 && !self.warned {
            self.warned = true;
            let said = format!(
                "step {step}: hardly any completion ends before the budget: raise --max-new-tokens, or teach the model to end first"
            );
            self.progress.pause(|| println!("ALARM: {said}"));
            self.record.row(step, json!({ "alarm": said }))?;
        }
        Ok(())
    }

    /// Something that is said between steps.
    pub fn say(&mut self, text: &str) {
        self.progress.pause(|| println!("{text}"));
    }

    /// What was found on validation problems after `step` steps.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn validation(&mut self, step: usize, found: &Evaluation) -> Result<()> {
        let Evaluation { pass_at_1, form_forgiven, reward_mean, eos_rate, length_mean, .. } =
            *found;
        let seconds = self.times.total().as_secs_f64();
        self.looks.push((self.tokens, pass_at_1));
        self.say(&format!(
            "step {step}, {seconds:.0} s, {} tokens drawn: right {pass_at_1:.3}, form forgiven {form_forgiven:.3}, reward \
             {reward_mean:.3}, ended {eos_rate:.3}",
            self.tokens
        ));
        self.record.row(
            step,
            json!({
                "val_pass_at_1": pass_at_1, "val_form_forgiven": form_forgiven, "val_reward": reward_mean,
                "val_eos_rate": eos_rate, "val_length": length_mean, "seconds": seconds,
            }),
        )?;
        self.record.draw("reward.svg", "reward")
    }

    /// Runs `work` that is no step: its time does not count.
    pub fn pause<R>(&mut self, work: impl FnOnce() -> R) -> R {
        self.progress.pause(work)
    }

    /// The run has ended; the tracker's files are complete.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn finish(self) -> Result<()> {
        self.record.finish()
    }
}
