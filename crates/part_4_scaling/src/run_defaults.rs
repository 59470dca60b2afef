//! 4.3 Defaults that follow the model and the data: the learning rate, the number of steps, and the
//! interval of validations of a run whose flags leave them open.
//!
//! The larger a model is, and the more it has learned, the smaller are the steps that fit it; of a
//! small data set a long run learns the rows by heart.

use std::num::NonZeroUsize;

use datasets::SplitRule;
use serde_json::{Value, json};

use crate::LrSchedule;

/// Number of parameters from which on a model counts as pretrained on much text.
const PRETRAINED_SIZE: f64 = 2e7;

/// Default learning rates of an algorithm.
#[derive(Debug, Clone, Copy)]
pub struct DefaultLr {
    /// All weights of a small model, such as those that this course pretrains.
    pub small: f64,
    /// Adapters of a small model.
    pub small_lora: f64,
    /// All weights of a pretrained model.
    pub pretrained: f64,
    /// Adapters of a pretrained model.
    pub pretrained_lora: f64,
}

impl DefaultLr {
    /// Learning rate for a model of `n_parameters` parameters, or for adapters beside them if there
    /// is a rank.
    pub fn of(self, n_parameters: f64, lora_rank: Option<NonZeroUsize>) -> f64 {
        match (n_parameters >= PRETRAINED_SIZE, lora_rank) {
            (false, None) => self.small,
            (false, Some(_)) => self.small_lora,
            (true, None) => self.pretrained,
            (true, Some(_)) => self.pretrained_lora,
        }
    }
}

/// Default length of a run, and of the intervals between its validations.
#[derive(Debug, Clone, Copy)]
pub struct DefaultLength {
    /// Passes over the training data.
    pub epochs: f64,
    /// Least number of steps, for data of a few batches.
    pub min_steps: usize,
    /// Largest number of steps.
    pub max_steps: usize,
    /// Largest number of steps between validations.
    pub max_eval_interval: usize,
}

impl DefaultLength {
    /// A fixed number of steps, whatever the data.
    pub const fn steps(steps: usize, max_eval_interval: usize) -> Self {
        Self { epochs: 0., min_steps: steps, max_steps: steps, max_eval_interval }
    }
}

/// Defaults of a run, which its flags override.
#[derive(Debug, Clone, Copy)]
pub struct RunDefaults {
    /// Peak learning rate.
    pub lr: f64,
    /// Optimizer steps of a pass over the training data, whose last batch may be smaller.
    pub steps_per_epoch: f64,
    /// Length.
    pub length: DefaultLength,
}

impl RunDefaults {
    /// Number of steps of a run of `epochs` passes over the data; without a number, the default.
    pub fn steps(&self, epochs: Option<f64>) -> usize {
        let DefaultLength { epochs: default, min_steps, max_steps, .. } = self.length;
        let steps = |epochs: f64| (epochs * self.steps_per_epoch).ceil() as usize;
        epochs.map_or(steps(default).clamp(min_steps, max_steps), |epochs| steps(epochs).max(1))
    }

    /// Steps between validations of a run of `total_steps` steps: half an epoch or a twentieth of
    /// the run, whichever is more, up to a limit.
    pub fn eval_interval(&self, total_steps: usize) -> usize {
        let half_epoch = (self.steps_per_epoch / 2.).ceil() as usize;
        let interval = half_epoch.max(total_steps.div_ceil(20));
        interval.clamp(1, self.length.max_eval_interval)
    }

    /// Length and learning rate of a run in words.
    pub fn summary(&self, schedule: &LrSchedule) -> String {
        let LrSchedule { total_steps, peak_lr, .. } = *schedule;
        format!(
            "{total_steps} steps, {:.1} epochs, with a learning rate of up to {peak_lr}",
            total_steps as f64 / self.steps_per_epoch
        )
    }
}

/// Settings that follow from the data and the model where no flag gives them, as a run stores them.
/// Its number of steps replaces `--epochs`.
pub fn schedule_settings(schedule: &LrSchedule, batch_size: usize) -> Value {
    let LrSchedule { total_steps, peak_lr, .. } = *schedule;
    json!({ "steps": total_steps, "epochs": null, "lr": peak_lr, "batch_size": batch_size })
}

/// Settings of [`schedule_settings`], and the rule by which the rows were split; `None` of built-in
/// data.
pub fn resolved_settings(
    schedule: &LrSchedule,
    batch_size: usize,
    split_rule: Option<SplitRule>,
) -> Value {
    let mut settings = schedule_settings(schedule, batch_size);
    settings[SplitRule::SETTING] = json!(split_rule);
    settings
}
