//! 9.5 Training loop: rollouts → rewards → advantages → update.

use anyhow::{Result, bail};
use modern::GptModern;
use ppo::completion_eval::non_finite_reward_message;
use ppo::experience::{ScoredRollouts, non_finite_message};
use ppo::prompts::step_rng;
use ppo::{PromptExample, PromptLoader, RewardFn};
use sft::{ChatTokenizer, RunOutputs, TrainState};
use tensor_core::clip_grad_norm;

use crate::config::{GrpoConfig, GrpoUpdateConfig};
use crate::evaluation::GrpoEvaluator;
use crate::experience::{GrpoExperience, collect_rollouts};
use crate::grpo_log::GrpoLog;
use crate::reference::ReferenceModel;
use crate::step_metrics::GrpoStepMetrics;
use crate::update::{MicroBatch, gradients, micro_batches};

/// Validation set, evaluator and interval.
pub struct GrpoValidation<'a> {
    /// Evaluator of the policy.
    pub evaluator: GrpoEvaluator<'a>,
    /// Validation prompts.
    pub prompts: &'a [PromptExample],
    /// Steps between validations; 0: only one at the end.
    pub interval: usize,
}

impl GrpoValidation<'_> {
    fn is_due(&self, step: usize) -> bool {
        self.interval > 0 && step.is_multiple_of(self.interval)
    }
}

/// Models and functions that training uses beside the policy.
pub struct GrpoContext<'a> {
    /// Reference model of the KL term; `None` without one.
    pub reference: Option<ReferenceModel>,
    /// Reward function of completions.
    pub reward_fn: &'a mut RewardFn,
    /// Validation of the policy.
    pub validation: GrpoValidation<'a>,
}

impl<'a> GrpoContext<'a> {
    /// Chat tokenizer and reward function, which a rollout needs.
    fn chat_tokenizer_and_reward_fn(&mut self) -> (&'a ChatTokenizer, &mut RewardFn) {
        (self.validation.evaluator.eval_config.chat_tokenizer, &mut *self.reward_fn)
    }
}

/// Trains `train_state` on `prompts` from its current step until its schedule ends, the token limit
/// is reached, or an interrupt.
///
/// # Errors
/// When the loss is not finite, a prompt is too long, or a file cannot be written.
pub fn train(
    train_state: &mut TrainState,
    prompts: Vec<PromptExample>,
    config: &GrpoConfig,
    context: &mut GrpoContext<'_>,
    outputs: &RunOutputs<'_>,
    log: &mut GrpoLog,
) -> Result<()> {
    let GrpoUpdateConfig { schedule, max_sampled_tokens, .. } = config.update;
    let policy = GptModern::new(&train_state.config, train_state.parameters.root())?;
    let inference_policy =
        GptModern::new(&train_state.config, train_state.parameters.for_inference().root())?;
    let mut prompts = PromptLoader::new(prompts, config.seed)?;
    if train_state.progress.step == 0 {
        // Baseline before training.
        validate_and_save_best(&inference_policy, train_state, context, outputs, log)?;
    }
    while train_state.progress.step < schedule.total_steps {
        let step = train_state.progress.step + 1;
        let batch = prompts.batch(step, config.prompts_per_step);
        let mut rng = step_rng(config.seed, step);
        let generate = || {
            collect_rollouts(
                &inference_policy,
                context.chat_tokenizer_and_reward_fn(),
                &batch,
                &config.rollout,
                &mut rng,
            )
        };
        let rollouts = log.time_phase(|timings| &mut timings.generation, generate)?;
        match non_finite_message(&rollouts.rewards, &rollouts.completion_texts) {
            Some(bad) => log.log_alarm(step, &format!("step {step} is skipped: {bad}"))?,
            None => {
                let models = [&policy, &inference_policy];
                update_step(train_state, models, rollouts, config, context, log)?;
            }
        }
        train_state.progress.step = step;
        context.reference.as_mut().map_or(Ok(()), |one| one.sync_if_due(train_state))?;
        let is_last = step == schedule.total_steps
            || max_sampled_tokens.is_some_and(|n| log.run_state.n_tokens >= n);
        if is_last || context.validation.is_due(step) {
            validate_and_save_best(&inference_policy, train_state, context, outputs, log)?;
        }
        let stop = outputs.should_stop(step) || is_last;
        if stop || outputs.is_save_due(step) {
            save_checkpoint(train_state, context.reference.as_ref(), outputs, log)?;
        }
        if stop {
            break;
        }
    }
    Ok(())
}

/// Update of the next step: advantages from `rollouts`, then `num_iterations` optimizer steps.
fn update_step(
    train_state: &mut TrainState,
    [policy, inference_policy]: [&GptModern; 2],
    rollouts: ScoredRollouts,
    config: &GrpoConfig,
    context: &GrpoContext<'_>,
    log: &mut GrpoLog,
) -> Result<()> {
    let step = train_state.progress.step + 1;
    let GrpoUpdateConfig { micro_batch_size, num_iterations, schedule, .. } = config.update;
    let experience = GrpoExperience::from_rollouts(rollouts, &config.rollout, &config.advantage)?;
    let reference = context.reference.as_ref().map(|reference| &reference.model);
    let compute_log_probs = || {
        let objective = &config.objective;
        micro_batches(&experience, objective, inference_policy, reference, micro_batch_size)
    };
    let batches = log.time_phase(|timings| &mut timings.log_probs, compute_log_probs)?;
    let iterations = if batches.is_empty() { 0 } else { num_iterations };
    let optimize = || {
        let steps =
            (0..iterations).map(|_| optimizer_step(train_state, policy, &batches, config, step));
        steps.collect::<Result<Vec<GrpoStepMetrics>>>()
    };
    let step_metrics = log.time_phase(|timings| &mut timings.training, optimize)?;
    log.log_step(step, &experience, &step_metrics, schedule.lr_at(step))
}

/// One optimizer step on `micro_batches`, in step `step` of the run.
fn optimizer_step(
    train_state: &mut TrainState,
    policy: &GptModern,
    micro_batches: &[MicroBatch],
    GrpoConfig { objective, update, .. }: &GrpoConfig,
    step: usize,
) -> Result<GrpoStepMetrics> {
    let (loss, mut grads, update_metrics) =
        gradients(policy, &train_state.parameters, micro_batches, objective)?;
    let grad_norm = clip_grad_norm(&mut grads, &train_state.parameters, update.max_grad_norm)?;
    if !loss.is_finite() || !grad_norm.is_finite() {
        bail!("step {step}: the loss is {loss}, the gradient norm {grad_norm}; try a smaller --lr");
    }
    train_state.optimizer.step(&grads, update.schedule.lr_at(step))?;
    Ok(GrpoStepMetrics { loss, grad_norm, update_metrics })
}

/// Validates the policy through `inference_policy`, its view for inference, and saves it if it is
/// the best so far. A validation with a reward that is not finite raises an alarm and decides
/// nothing.
fn validate_and_save_best(
    inference_policy: &GptModern,
    train_state: &mut TrainState,
    context: &mut GrpoContext<'_>,
    outputs: &RunOutputs<'_>,
    log: &mut GrpoLog,
) -> Result<()> {
    let (validation, reward_fn) = (&context.validation, &mut *context.reward_fn);
    let step = train_state.progress.step;
    let evaluate =
        || validation.evaluator.evaluate_greedy(inference_policy, validation.prompts, reward_fn);
    let (metrics, completions) = log.suspend(evaluate)?;
    if let Some(bad) = non_finite_reward_message(&completions) {
        return log.log_alarm(step, &format!("validation at step {step} is ignored: {bad}"));
    }
    log.log_validation(step, &metrics)?;
    let loss = -metrics.reward_mean; // `best_loss` is a minimum
    if train_state.progress.best_loss.is_none_or(|best| loss <= best) {
        train_state.progress.best_loss = Some(loss);
        outputs.save_model(train_state)?;
    }
    Ok(())
}

fn save_checkpoint(
    train_state: &TrainState,
    reference: Option<&ReferenceModel>,
    outputs: &RunOutputs<'_>,
    log: &GrpoLog,
) -> Result<()> {
    let Some(destination) = &outputs.destination else { return Ok(()) };
    destination.checkpoints.save(train_state.progress.step, |folder| {
        train_state.save(folder, destination.data_id)?;
        log.run_state.save(folder)?;
        reference.map_or(Ok(()), |reference| reference.save(folder))
    })
}
