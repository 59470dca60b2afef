//! What a log of a run is told, and what it remembers: the length and the rows of the run, the
//! metrics of a step, and its state between two steps.

use serde::{Deserialize, Serialize};

use crate::alarms::{RaisedAlarms, TrainingAlarms};
use crate::metrics_writer::Plot;

/// Settings of a log: the length of the run, and the rows and the plot that it gets.
#[derive(Debug, Clone, Copy)]
pub struct RunLogConfig {
    /// Total number of steps.
    pub total_steps: usize,
    /// Steps of learning-rate warm-up, after which a rising rate raises an alarm.
    pub warmup_steps: usize,
    /// Steps between rows of metrics; the last step has one, too.
    pub interval: usize,
    /// Model FLOPs utilization (MFU) at one token per second, if it is logged.
    pub mfu_per_token_per_s: Option<f64>,
    /// Plot of the run.
    pub plot: Plot,
}

impl RunLogConfig {
    /// Log of the losses of a run.
    pub fn losses(total_steps: usize, warmup_steps: usize, interval: usize) -> Self {
        Self { total_steps, warmup_steps, interval, mfu_per_token_per_s: None, plot: Plot::LOSS }
    }

    /// Log of the rewards of a run.
    pub fn rewards(total_steps: usize, warmup_steps: usize, interval: usize) -> Self {
        Self { plot: Plot::REWARD, ..Self::losses(total_steps, warmup_steps, interval) }
    }
}

/// Metrics of a training step.
#[derive(Debug, Clone, Copy)]
pub struct StepMetrics {
    /// Step, counted from 1.
    pub step: usize,
    /// Mean loss over the targets of the step.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// Gradient norm before clipping.
    pub grad_norm: f64,
    /// Number of input tokens.
    pub n_tokens: usize,
}

/// State of a log between two steps, saved in every checkpoint, so that a resumed run writes the
/// rows of an uninterrupted one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LogState {
    /// Number of tokens so far.
    pub n_tokens: usize,
    /// Losses since the last row.
    pub(crate) recent_losses: Vec<f64>,
    /// Alarms of the run so far.
    #[serde(default)]
    pub(crate) alarms: RaisedAlarms,
    /// Steps that the next one is compared with.
    #[serde(default)]
    pub(crate) training_alarms: TrainingAlarms,
}
