//! 8.4 The loop: rollout → score → advantage → update.

use std::time::Instant;

use anyhow::Result;
use modern::GptModern;
use sft::{ChatTokenizer, RunOutputs};
use tensor_core::Rng;

use crate::actor_critic::{ActorCritic, PpoModels};
use crate::config::PpoConfig;
use crate::experience::{
    PpoExperience, ScoredRollouts, compute_rewards, decode_completions, non_finite_message,
};
use crate::ppo_log::PpoLog;
use crate::prompts::{PromptLoader, step_rng};
use crate::ptx_loss::PtxLoss;
use crate::reward_fn::RewardFn;
use crate::rollout::rollout;
use crate::step_report::StepReport;
use crate::update::{PpoUpdateConfig, UpdateInputs, update};
use crate::update_metrics::PpoUpdateMetrics;
use crate::validator::PpoValidator;

/// What surrounds a learner.
pub struct PpoContext<'a> {
    /// The policy as it was.
    pub reference: &'a GptModern,
    /// How tokens become words.
    pub chat_tokenizer: &'a ChatTokenizer,
    /// Who judges responses.
    pub reward_fn: &'a mut RewardFn,
    /// Examples that are mixed in.
    pub ptx_loss: Option<PtxLoss>,
}

/// Trains `learner` from where it is, until its schedule ends, it is told to stop, or `exam` is passed.
///
/// # Errors
/// When the loss stops being a number, the scorer fails, or a file cannot be written.
pub fn train(
    learner: &mut ActorCritic,
    around: &mut PpoContext<'_>,
    prompts: &mut PromptLoader,
    (config, exam): (&PpoConfig, &PpoValidator<'_>),
    outputs: &RunOutputs<'_>,
    log: &mut PpoLog,
) -> Result<()> {
    let models = learner.models()?;
    if learner.policy.progress.step == 0 {
        exam.run(&models.rollout_policy, &mut learner.policy, around.reward_fn, outputs, log)?; // what there is to improve on
    }
    let total = config.schedule.total_steps;
    while learner.policy.progress.step < total && !learner.policy.progress.target_reached {
        let step = learner.policy.progress.step + 1;
        let mut rng = step_rng(config.seed, step);
        let mut lap = lap_timer();
        let questions = prompts.batch(step, config.prompts_per_step);
        let asked: Vec<Vec<u32>> = questions.iter().map(|one| one.prompt.clone()).collect();
        let groups = rollout(&models.rollout_policy, &asked, &config.rollout, &mut rng)?;
        let rollout_s = lap();
        let texts = decode_completions(&groups, around.chat_tokenizer)?;
        let scores = compute_rewards(&groups, &questions, &texts, around.reward_fn, &mut rng)?;
        if let Some(bad) = non_finite_message(&scores, &texts) {
            log.log_alarm(step, &format!("step {step} is skipped: {bad}"))?;
        } else {
            let (judged, price) = (
                ScoredRollouts { groups, completion_texts: texts, rewards: scores },
                learner.progress.kl_coef,
            );
            let experience =
                PpoExperience::from_rollouts(judged, &models, around.reference, config, price)?;
            let judging_s = lap();
            let updated = update_step(learner, &models, around, &experience, config, &mut rng)?;
            let report = StepReport {
                step,
                prompts: &questions,
                experience: &experience,
                update_metrics: &updated,
                lr: config.schedule.lr_at(step),
                kl_coef: learner.progress.kl_coef,
                seconds: [rollout_s, judging_s, lap()],
            };
            report.log(log, &mut learner.progress.alarms)?;
        }
        learner.policy.progress.step = step;
        if step == total || exam.is_due(step) {
            exam.run(&models.rollout_policy, &mut learner.policy, around.reward_fn, outputs, log)?;
        }
        let stop = outputs.should_stop(step);
        if step == total
            || stop
            || learner.policy.progress.target_reached
            || outputs.is_save_due(step)
        {
            save_checkpoint(learner, outputs)?;
        }
        if stop {
            break;
        }
    }
    Ok(())
}

/// Each call: the seconds since the last.
fn lap_timer() -> impl FnMut() -> f64 {
    let mut begun = Instant::now();
    move || std::mem::replace(&mut begun, Instant::now()).elapsed().as_secs_f64()
}

/// The update of the step that comes after those taken, and the price of KL after it.
fn update_step(
    learner: &mut ActorCritic,
    models: &PpoModels,
    around: &mut PpoContext<'_>,
    experience: &PpoExperience,
    config: &PpoConfig,
    rng: &mut Rng,
) -> Result<PpoUpdateMetrics> {
    let step = learner.policy.progress.step + 1;
    let PpoUpdateConfig {
        ppo_epochs: epochs,
        n_minibatches: mini_batches,
        grad_accum_steps: accumulate,
        ..
    } = config.update;
    if let Some(mix) = &mut around.ptx_loss {
        mix.seek_batch((step - 1) * epochs * mini_batches * accumulate);
    }
    let rate = config.schedule.lr_at(step);
    let pass = UpdateInputs {
        config: &config.update,
        temperature: config.rollout.temperature(),
        rates: [rate, rate * config.critic_lr_multiplier],
        ptx_loss: around.ptx_loss.as_mut(),
    };
    let updated = update(learner, models, experience, pass, rng)?;
    let (price, n) = (learner.progress.kl_coef, experience.rewards.len());
    learner.progress.kl_coef = config.kl_controller.next_kl_coef(price, experience.kl, n);
    Ok(updated)
}

fn save_checkpoint(learner: &ActorCritic, outputs: &RunOutputs<'_>) -> Result<()> {
    let Some(place) = &outputs.destination else { return Ok(()) };
    let step = learner.policy.progress.step;
    place.checkpoints.save(step, |folder| learner.save(folder, place.data_id))
}
