//! 9.5 Progress of a run: counters and metrics that a resumed run continues, and the log of a step.
//! The log shows the reward, not the loss, whose value is near 0 while every ratio is 1, although
//! its gradient is not.

use anyhow::Result;
use experiment::machine::memory_mb;
use experiment::metrics_writer::extend_row;
use experiment::{Alarm, Plateau, RunLog};
use ppo::RunInputs;
use ppo::alarms::no_better_completion;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::evaluation::ExactMatchChange;
use crate::experience::GrpoExperience;
use crate::metrics::{GrpoStepMetrics, PhaseTimings, mean_metrics};
use crate::update_metrics::GrpoUpdateMetrics;

/// Share of terminated completions below which the policy does not stop.
const MIN_EOS_RATE: f64 = 0.05;
/// Difference between sampler and loss, in nats per token, that rounding does not explain.
const MAX_SAMPLER_DIFF: f64 = 0.02;

/// Progress of a GRPO run beside its tensors and its log, part of the checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GrpoProgress {
    /// Identities of the initial weights and of the reward function.
    pub run_inputs: RunInputs,
    /// Number of steps in which all advantages of included completions were 0.
    pub zero_advantage_steps: usize,
    /// Sum of the rewards of all steps.
    pub reward_sum: f64,
    /// Number of the rewards of all steps.
    pub n_rewards: usize,
    /// Steps since the last row of the log.
    pub recent_steps: Vec<GrpoStepMetrics>,
    /// Exact match at each validation, with the number of tokens sampled before it; empty for
    /// prompts without answers.
    pub validations: Vec<(usize, f64)>,
    /// Exact match of the model that is kept.
    #[serde(default)]
    pub best_exact_match: Option<f64>,
    /// Time of each phase in this process.
    #[serde(skip)]
    pub timings: PhaseTimings,
}

impl GrpoProgress {
    /// Mean of the rewards of all steps so far; 0 before the first.
    pub fn mean_reward(&self) -> f64 {
        self.reward_sum / self.n_rewards.max(1) as f64
    }

    /// Exact match before the first step, and of the model that is kept; `None` without one, or
    /// without answers.
    pub fn exact_match_change(&self) -> Option<ExactMatchChange> {
        let (_, before) = *self.validations.first()?;
        Some(ExactMatchChange { before, after: self.best_exact_match? })
    }

    /// Number of tokens sampled before the last validation; 0 without one.
    pub fn n_tokens(&self) -> usize {
        self.validations.last().map_or(0, |(n_tokens, _)| *n_tokens)
    }

    /// Adds the rewards of a step.
    pub fn add_rewards(&mut self, rewards: &[f64]) {
        self.reward_sum += rewards.iter().sum::<f64>();
        self.n_rewards += rewards.len();
    }

    /// Logs step `step`, whose rewards belong to `plateau`, its alarms, and a row of the log if it
    /// is due, with what describes its `completions`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn log_step(
        &mut self,
        step: usize,
        experience: &GrpoExperience,
        updates: &[GrpoUpdateMetrics],
        completions: Value,
        plateau: Option<Plateau>,
        lr: f64,
        log: &mut RunLog,
    ) -> Result<()> {
        let metrics = GrpoStepMetrics::new(experience, updates);
        self.zero_advantage_steps += usize::from(metrics.is_zero_advantage());
        self.recent_steps.push(metrics);
        let n_tokens = experience.n_tokens();
        log.progress(step, &format!("reward {:.3}", metrics.reward_mean), n_tokens);
        log_alarms(step, &metrics, plateau, log)?;
        if log.is_due(step)
            && let Some(tracker) = log.tracker()
        {
            tracker.log_histogram(step, "reward", &experience.rewards)?;
        }
        self.log_row_if_due(step, completions, lr, log)
    }

    /// Writes a row with the means over the steps since the last row and what describes the
    /// `completions` of step `step`, if it is due and there are such steps.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn log_row_if_due(
        &mut self,
        step: usize,
        completions: Value,
        lr: f64,
        log: &mut RunLog,
    ) -> Result<()> {
        match log.is_due(step) {
            true => self.log_pending_row(step, completions, lr, log),
            false => Ok(()),
        }
    }

    /// Writes a row with the means over the steps since the last row, if there are such steps; also
    /// at the end of a run that is solved before its last step.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn log_pending_row(
        &mut self,
        step: usize,
        completions: Value,
        lr: f64,
        log: &mut RunLog,
    ) -> Result<()> {
        if self.recent_steps.is_empty() {
            return Ok(());
        }
        let mut row = serde_json::to_value(mean_metrics(&self.recent_steps)?)?;
        self.recent_steps.clear();
        let fractions = self.timings.fractions();
        extend_row(
            &mut row,
            json!({
                "generation_time_fraction": fractions.generation,
                "log_probs_time_fraction": fractions.log_probs,
                "training_time_fraction": fractions.training, "memory_mb": memory_mb(), "lr": lr,
                "tokens": log.state.n_tokens, "tokens_per_s": log.tokens_per_second(),
                "step_time_s": log.step_time(step),
            }),
        );
        extend_row(&mut row, completions);
        log.row(step, row)
    }
}

/// Raises the alarms of a step.
fn log_alarms(
    step: usize,
    metrics: &GrpoStepMetrics,
    plateau: Option<Plateau>,
    log: &mut RunLog,
) -> Result<()> {
    let GrpoStepMetrics { reward_mean, eos_rate, update, .. } = *metrics;
    let equal = match plateau {
        Some(plateau) => plateau.alarm(),
        None => metrics.is_zero_advantage().then(|| no_better_completion(reward_mean)),
    };
    let stop = (eos_rate < MIN_EOS_RATE).then(|| {
        let message = format!(
            "{:.1} % of the completions end with a stop token: raise --max-new-tokens, or \
             fine-tune the model to stop",
            100. * eos_rate
        );
        Alarm::new("no_stop", message).with_severity(1. / eos_rate)
    });
    let diff = update.map_or(0., |update| update.sampler_log_prob_diff);
    let mismatch = (diff > MAX_SAMPLER_DIFF).then(|| {
        let message = format!(
            "sampler/trainer mismatch before the first update: log-probabilities differ by \
             {diff:.3} nats per token; --importance-sampling-cap corrects for it"
        );
        Alarm::new("sampler_log_prob_diff", message).with_severity(diff)
    });
    [equal, stop, mismatch].iter().flatten().try_for_each(|alarm| log.alarm(step, alarm))
}
