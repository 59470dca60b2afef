//! 9.4 The loop: draw, judge, compare, learn.

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

/// A regular look at validation problems.
pub struct GrpoValidation<'a> {
    /// How.
    pub evaluator: GrpoEvaluator<'a>,
    /// At what.
    pub prompts: &'a [PromptExample],
    /// Steps between two; 0 for one at the end.
    pub interval: usize,
}

impl GrpoValidation<'_> {
    fn is_due(&self, step: usize) -> bool {
        self.interval > 0 && step.is_multiple_of(self.interval)
    }
}

/// What surrounds a policy.
pub struct GrpoContext<'a> {
    /// What it is kept near, if it is.
    pub reference: Option<ReferenceModel>,
    /// Who judges completions.
    pub reward_fn: &'a mut RewardFn,
    /// How it is looked at.
    pub validation: GrpoValidation<'a>,
}

impl<'a> GrpoContext<'a> {
    /// How completions are read, and who judges them.
    fn chat_tokenizer_and_reward_fn(&mut self) -> (&'a ChatTokenizer, &mut RewardFn) {
        (self.validation.evaluator.eval_config.chat_tokenizer, &mut *self.reward_fn)
    }
}

/// Trains `tuning` on `questions` from where it is, until its schedule ends or it is told to stop.
///
/// # Errors
/// When the loss is not a number, a prompt does not fit, or a file cannot be written.
pub fn train(
    tuning: &mut TrainState,
    questions: Vec<PromptExample>,
    config: &GrpoConfig,
    around: &mut GrpoContext<'_>,
    outputs: &RunOutputs<'_>,
    log: &mut GrpoLog,
) -> Result<()> {
    let GrpoUpdateConfig { schedule, max_sampled_tokens: most_tokens, .. } = config.update;
    let policy = GptModern::new(&tuning.config, tuning.parameters.root())?;
    let twin = GptModern::new(&tuning.config, tuning.parameters.for_inference().root())?;
    let mut prompts = PromptLoader::new(questions, config.seed)?;
    if tuning.progress.step == 0 {
        validate_and_save_best(&twin, tuning, around, outputs, log)?; // what there is to improve on
    }
    while tuning.progress.step < schedule.total_steps {
        let step = tuning.progress.step + 1;
        let questions = prompts.batch(step, config.prompts_per_step);
        let mut rng = step_rng(config.seed, step);
        let draw = || {
            collect_rollouts(
                &twin,
                around.chat_tokenizer_and_reward_fn(),
                &questions,
                &config.rollout,
                &mut rng,
            )
        };
        let judged = log.time_phase(|times| &mut times.generation, draw)?;
        match non_finite_message(&judged.rewards, &judged.completion_texts) {
            Some(bad) => log.log_alarm(step, &format!("step {step} is skipped: {bad}"))?,
            None => update_step(tuning, [&policy, &twin], judged, config, around, log)?,
        }
        tuning.progress.step = step;
        around.reference.as_mut().map_or(Ok(()), |reference| reference.sync_if_due(tuning))?;
        let last = step == schedule.total_steps
            || most_tokens.is_some_and(|n| log.run_state.n_tokens >= n);
        if last || around.validation.is_due(step) {
            validate_and_save_best(&twin, tuning, around, outputs, log)?;
        }
        let stop = outputs.should_stop(step) || last;
        if stop || outputs.is_save_due(step) {
            save_checkpoint(tuning, around.reference.as_ref(), outputs, log)?;
        }
        if stop {
            break;
        }
    }
    Ok(())
}

/// The step after those taken: what was `judged` is compared, and the policy learns from it; its twin writes.
fn update_step(
    tuning: &mut TrainState,
    [policy, twin]: [&GptModern; 2],
    judged: ScoredRollouts,
    config: &GrpoConfig,
    around: &GrpoContext<'_>,
    log: &mut GrpoLog,
) -> Result<()> {
    let (step, GrpoUpdateConfig { micro_batch_size: groups_each, schedule, .. }) =
        (tuning.progress.step + 1, config.update);
    let drawn = GrpoExperience::from_rollouts(judged, &config.rollout, &config.advantage)?;
    let reference = around.reference.as_ref().map(|reference| &reference.model);
    let score = || micro_batches(&drawn, &config.objective, twin, reference, groups_each);
    let parts = log.time_phase(|times| &mut times.log_probs, score)?;
    let updates = if parts.is_empty() { 0 } else { config.update.num_iterations };
    let learn = || {
        let each = (0..updates).map(|_| optimizer_step(tuning, policy, &parts, config, step));
        each.collect::<Result<Vec<GrpoStepMetrics>>>()
    };
    let done = log.time_phase(|times| &mut times.training, learn)?;
    log.log_step(step, &drawn, &done, schedule.lr_at(step))
}

/// A step of the optimizer on `parts`, in step `step` of the run.
fn optimizer_step(
    tuning: &mut TrainState,
    policy: &GptModern,
    parts: &[MicroBatch],
    GrpoConfig { objective, update: steps, .. }: &GrpoConfig,
    step: usize,
) -> Result<GrpoStepMetrics> {
    let (loss, mut grads, seen) = gradients(policy, &tuning.parameters, parts, objective)?;
    let norm = clip_grad_norm(&mut grads, &tuning.parameters, steps.max_grad_norm)?;
    if !loss.is_finite() || !norm.is_finite() {
        bail!("step {step}: the loss is {loss}, the gradient norm {norm}; try a smaller --lr");
    }
    tuning.optimizer.step(&grads, steps.schedule.lr_at(step))?;
    Ok(GrpoStepMetrics { loss, grad_norm: norm, update_metrics: seen })
}

/// Looks at `twin`, an inference twin of `tuning`, which is saved if none before was better. A look at which a score is no number says so
/// and decides nothing.
fn validate_and_save_best(
    twin: &GptModern,
    tuning: &mut TrainState,
    around: &mut GrpoContext<'_>,
    outputs: &RunOutputs<'_>,
    log: &mut GrpoLog,
) -> Result<()> {
    let (looks, scorer, step) = (&around.validation, &mut *around.reward_fn, tuning.progress.step);
    let (found, answers) =
        log.suspend(|| looks.evaluator.evaluate_greedy(twin, looks.prompts, scorer))?;
    if let Some(bad) = non_finite_reward_message(&answers) {
        return log.log_alarm(step, &format!("the look after step {step} does not count: {bad}"));
    }
    log.log_validation(step, &found)?;
    let badness = -found.reward_mean; // `best` is the least of something
    if tuning.progress.best_loss.is_none_or(|best| badness <= best) {
        tuning.progress.best_loss = Some(badness);
        outputs.save_model(tuning)?;
    }
    Ok(())
}

fn save_checkpoint(
    tuning: &TrainState,
    reference: Option<&ReferenceModel>,
    outputs: &RunOutputs<'_>,
    log: &GrpoLog,
) -> Result<()> {
    let Some(place) = &outputs.destination else { return Ok(()) };
    place.checkpoints.save(tuning.progress.step, |folder| {
        tuning.save(folder, place.data_id)?;
        log.run_state.save(folder)?;
        reference.map_or(Ok(()), |reference| reference.save(folder))
    })
}
