//! 4.5 Alarms: problems that a person would see in the training curves, reported at the step where
//! they occur and with a likely cause.

use std::collections::VecDeque;

/// Number of recent gradient norms that a new one is compared with.
const HISTORY_LEN: usize = 100;
/// Number of gradient norms below which their median is not used yet.
const MIN_HISTORY_LEN: usize = 20;
/// Ratio of a gradient norm to the median norm from which it counts as an explosion.
const EXPLOSION_FACTOR: f64 = 10.;
/// Relative rise of the learning rate that rounding explains: min + (peak − min) may be above peak.
const LR_TOLERANCE: f64 = 1e-9;

/// Alarms of a training run: exploding gradients, gradients of 0, a rising learning rate, a loss
/// that is not finite.
#[derive(Debug, Default)]
pub struct TrainingAlarms {
    grad_norms: VecDeque<f64>,
    last_lr: Option<f64>,
    warmup_steps: usize,
}

impl TrainingAlarms {
    /// Alarms for a run whose learning rate rises for `warmup` steps.
    pub fn new(warmup: usize) -> Self {
        Self { warmup_steps: warmup, ..Self::default() }
    }

    /// Alarm message for `step` (counted from 1), if there is a problem. `norm` is the gradient
    /// norm before clipping.
    pub fn check(&mut self, step: usize, loss: f64, lr: f64, norm: f64) -> Option<String> {
        let median = self.median_grad_norm();
        let was_zero = self.grad_norms.back() == Some(&0.);
        self.grad_norms.push_back(norm);
        if self.grad_norms.len() > HISTORY_LEN {
            self.grad_norms.pop_front();
        }
        let last_lr = self.last_lr.replace(lr);
        if !loss.is_finite() || !norm.is_finite() {
            let cause = self.cause_of_non_finite(median);
            return Some(format!(
                "step {step}: the loss is {loss}, the gradient norm {norm}; {cause}"
            ));
        }
        if norm == 0. && !was_zero {
            return Some(format!(
                "step {step}: the gradient norm is 0, so nothing is learned: the loss does not \
                 depend on the parameters that are trained, or no token is in it"
            ));
        }
        if let Some(median) = median.filter(|median| norm > EXPLOSION_FACTOR * median) {
            return Some(format!(
                "step {step}: the gradient norm is {norm:.3}, {:.0} times the median {median:.3}; \
                 if it stays high, the learning rate is too high or the data has changed",
                norm / median
            ));
        }
        let rises = last_lr.is_some_and(|last| lr > last * (1. + LR_TOLERANCE))
            && step > self.warmup_steps.max(1);
        rises.then(|| {
            format!(
                "step {step}: the learning rate rises after the warm-up; \
                 the schedule was changed during the run"
            )
        })
    }

    /// Likely cause of a loss or gradient norm that is not finite, given the median of the norms.
    fn cause_of_non_finite(&self, median: Option<f64>) -> &'static str {
        let Some(median) = median else {
            return "it is early in the run: try a smaller --lr or a longer --warmup-steps";
        };
        let mut previous_norms = self.grad_norms.iter().rev().skip(1).take(5);
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
