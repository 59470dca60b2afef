//! 4.5 Alarms: problems that a person would see in the training curves, reported at the step where
//! they occur and with a likely cause.
//!
//! An alarm that is repeated at every step is read by nobody. So a run raises it once per cause,
//! and again only when it has become [`WORSE_FACTOR`] times as bad: by its own measure, such as a
//! KL, or else by the number of steps with it.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

/// Growth of an alarm's severity after which a run raises it again.
pub const WORSE_FACTOR: f64 = 5.;
/// Number of recent gradient norms that a new one is compared with.
const HISTORY_LEN: usize = 100;
/// Number of gradient norms below which their median is not used yet.
const MIN_HISTORY_LEN: usize = 20;
/// Ratio of a gradient norm to the median norm from which it counts as an explosion.
const EXPLOSION_FACTOR: f64 = 10.;
/// Relative rise of the learning rate that rounding explains: min + (peak − min) may be above peak.
const LR_TOLERANCE: f64 = 1e-9;

/// Alarm: a problem of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Alarm {
    /// Name of the cause, by which a run knows that it has raised the alarm before.
    pub cause: &'static str,
    /// Severity; `None` if it is the number of steps with the alarm.
    pub severity: Option<f64>,
    /// The problem, and what to do about it.
    pub message: String,
}

impl Alarm {
    /// Alarm whose severity is the number of steps with it.
    pub fn new(cause: &'static str, message: impl Into<String>) -> Self {
        Self { cause, severity: None, message: message.into() }
    }

    /// This alarm with a measure of how bad it is, above 0.
    pub fn with_severity(self, severity: f64) -> Self {
        Self { severity: Some(severity), ..self }
    }
}

/// Alarms that a run has raised, by cause. Checkpoints keep them, so a resumed run does not repeat
/// them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RaisedAlarms(BTreeMap<String, RaisedAlarm>);

/// Alarm that was raised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct RaisedAlarm {
    /// Number of steps with it so far, whether it was raised again or not.
    n_steps: usize,
    /// Step at which it was raised last.
    step: usize,
    /// Its severity then.
    severity: f64,
}

impl RaisedAlarms {
    /// Text of `alarm` at `step`, unless the run has raised it before and it is not much worse now.
    pub fn raise(&mut self, step: usize, alarm: &Alarm) -> Option<String> {
        let Alarm { cause, severity, message } = alarm;
        let raised = self.0.entry(cause.to_string()).or_default();
        raised.n_steps = raised.n_steps.saturating_add(1);
        // JSON has no infinity.
        let severity = severity.unwrap_or(raised.n_steps as f64).min(f64::MAX);
        let mut text = format!("step {step}: {message}");
        if raised.n_steps > 1 {
            if severity < WORSE_FACTOR * raised.severity {
                return None;
            }
            text += &format!(
                " (raised before at step {}; at least {WORSE_FACTOR} times as bad now)",
                raised.step
            );
        }
        (raised.step, raised.severity) = (step, severity);
        Some(text)
    }
}

/// Health checks of supervised training: exploding gradients, gradients of 0, a rising learning
/// rate. They compare a step with those before it, which checkpoints keep.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingAlarms {
    grad_norms: VecDeque<f64>,
    /// Not kept: a resumed run may have another schedule.
    #[serde(skip)]
    last_lr: Option<f64>,
}

impl TrainingAlarms {
    /// Alarm of step `step` (counted from 1), if there is a problem, in a run whose learning rate
    /// rises for `warmup_steps` steps. `norm` is the gradient norm before clipping. A loss or norm
    /// that is not finite is reported with its likely cause.
    pub fn check(
        &mut self,
        step: usize,
        warmup_steps: usize,
        loss: f64,
        lr: f64,
        norm: f64,
    ) -> Option<Alarm> {
        let median = self.median_grad_norm();
        if !loss.is_finite() || !norm.is_finite() {
            let cause = self.cause_of_non_finite(median);
            let message = format!("the loss is {loss}, the gradient norm {norm}; {cause}");
            return Some(Alarm::new("non_finite_loss", message));
        }
        self.grad_norms.push_back(norm);
        if self.grad_norms.len() > HISTORY_LEN {
            self.grad_norms.pop_front();
        }
        let last_lr = self.last_lr.replace(lr);
        if norm == 0. {
            return Some(Alarm::new(
                "zero_gradient",
                "the gradient norm is 0, so nothing is learned: the loss does not depend on the \
                 parameters that are trained, or no token is in it",
            ));
        }
        if let Some(median) = median.filter(|median| norm > EXPLOSION_FACTOR * median) {
            let ratio = norm / median;
            let message = format!(
                "the gradient norm is {norm:.3}, {ratio:.0} times the median {median:.3}; if it \
                 stays high, the learning rate is too high or the data has changed"
            );
            return Some(Alarm::new("exploding_gradient", message).with_severity(ratio));
        }
        let rises = last_lr.is_some_and(|last| lr > last * (1. + LR_TOLERANCE))
            && step > warmup_steps.max(1);
        rises.then(|| {
            Alarm::new(
                "rising_lr",
                "the learning rate rises after the warm-up; the schedule was changed during the \
                 run",
            )
        })
    }

    /// Likely cause of a loss or gradient norm that is not finite, given the median of the norms.
    fn cause_of_non_finite(&self, median: Option<f64>) -> &'static str {
        let Some(median) = median else {
            return "it is early in the run: try a smaller --lr or a longer --warmup-steps";
        };
        let mut previous_norms = self.grad_norms.iter().rev().take(5);
        match previous_norms.any(|&norm| norm > EXPLOSION_FACTOR * median) {
            true => "the gradients grew before: try a smaller --lr or --max-grad-norm",
            false => "the gradients were normal before: check the data, or try --dtype f32",
        }
    }

    /// Median of the recent gradient norms, once there are enough of them.
    fn median_grad_norm(&self) -> Option<f64> {
        let mut norms: Vec<f64> = self.grad_norms.iter().copied().collect();
        norms.sort_unstable_by(f64::total_cmp);
        (norms.len() >= MIN_HISTORY_LEN).then(|| norms[norms.len() / 2])
    }
}
