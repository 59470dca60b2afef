//! 4.5 Alarms: what a person who reads the curves would notice, said at once and with its likely cause.

use std::collections::VecDeque;

/// Steps whose norms a new one is compared with.
const HISTORY_LEN: usize = 100;
/// Fewer say nothing.
const MIN_HISTORY_LEN: usize = 20;
/// Times the median.
const EXPLOSION_FACTOR: f64 = 10.;

/// Watches the figures of a run.
#[derive(Debug, Default)]
pub struct TrainingAlarms {
    grad_norms: VecDeque<f64>,
    last_lr: Option<f64>,
    warmup_steps: usize,
}

impl TrainingAlarms {
    /// Watches a run whose rate rises for `warmup` steps.
    pub fn new(warmup: usize) -> Self {
        Self { warmup_steps: warmup, ..Self::default() }
    }

    /// What is wrong with step `step`, counted from 1, if anything is. `norm` is that of the gradients before clipping.
    pub fn check(&mut self, step: usize, loss: f64, rate: f64, norm: f64) -> Option<String> {
        let usual = self.median_grad_norm();
        self.grad_norms.push_back(norm);
        if self.grad_norms.len() > HISTORY_LEN {
            self.grad_norms.pop_front();
        }
        let before = self.last_lr.replace(rate);
        if !loss.is_finite() || !norm.is_finite() {
            let cause = match usual {
                Some(usual)
                    if self
                        .grad_norms
                        .iter()
                        .rev()
                        .skip(1)
                        .take(5)
                        .any(|&n| n > EXPLOSION_FACTOR * usual) =>
                {
                    "the gradients grew before it: try a smaller --lr or --max-grad-norm"
                }
                Some(_) => {
                    "the gradients were as always before it: look at the data, or try --dtype f32"
                }
                None => "it is early: try a smaller --lr or a longer --warmup-steps",
            };
            return Some(format!(
                "step {step}: the loss is {loss}, the gradient norm {norm}; {cause}"
            ));
        }
        if usual.is_some_and(|usual| norm > EXPLOSION_FACTOR * usual) {
            let usual = usual.unwrap_or_default();
            return Some(format!(
                "step {step}: the gradient norm is {norm:.3}, {:.0} times the usual {usual:.3}; if it stays, the rate is too \
                 high or the data has changed",
                norm / usual
            ));
        }
        let rising = before.is_some_and(|before| rate > before) && step > self.warmup_steps.max(1);
        rising.then(|| {
            format!("step {step}: the learning rate rises after the warm-up; the schedule was changed within the run")
        })
    }

    /// The median norm, once there are enough.
    fn median_grad_norm(&self) -> Option<f64> {
        let mut norms: Vec<f64> = self.grad_norms.iter().copied().collect();
        norms.sort_unstable_by(f64::total_cmp);
        (norms.len() >= MIN_HISTORY_LEN).then(|| norms[norms.len() / 2])
    }
}
