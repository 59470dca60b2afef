//! 9.4 The loop: draw, judge, compare, learn.

use anyhow::{Result, bail, ensure};
use modern::GptModern;
use ppo::prompts::of_step;
use ppo::{Prompts, Question, RolloutConfig, Scorer};
use scaling::Schedule;
use sft::{Outputs, Tuning};
use tensor_core::{AdamWConfig, clip_grad_norm};

use crate::evaluation::Exam;
use crate::experience::{Judgement, gather};
use crate::figures::Update;
use crate::reference::{self, Reference};
use crate::update::{gradients, parts};
use crate::{Objective, RunLog};

/// What decides where a run arrives.
#[derive(Debug, Clone)]
pub struct GrpoConfig {
    /// Prompts of a step.
    pub prompts: usize,
    /// How they are answered, and how often each.
    pub rollout: RolloutConfig,
    /// What the answers are worth.
    pub judgement: Judgement,
    /// What a step descends.
    pub objective: Objective,
    /// What the policy is kept near, if it is.
    pub reference: Option<reference::Kind>,
    /// How steps are made of it.
    pub steps: StepConfig,
    /// Of the order of prompts, and of what is drawn.
    pub seed: u64,
}

/// How steps are made.
#[derive(Debug, Clone, Copy)]
pub struct StepConfig {
    /// μ: steps of the optimizer on what was drawn once.
    pub updates: usize,
    /// Prompts whose gradient is computed at a time.
    pub groups_each: usize,
    /// The rate of each step, and how many there are.
    pub schedule: Schedule,
    /// β₁, β₂, ε and weight decay.
    pub optimizer: AdamWConfig,
    /// Largest gradient norm.
    pub grad_clip: f64,
    /// The run ends early once this many tokens have been drawn.
    pub most_tokens: Option<usize>,
}

/// A regular look at validation problems.
pub struct Looks<'a> {
    /// How.
    pub exam: Exam<'a>,
    /// At what.
    pub questions: &'a [Question],
    /// Steps between two; 0 for one at the end.
    pub interval: usize,
}

impl Looks<'_> {
    fn due(&self, step: usize) -> bool {
        self.interval > 0 && step.is_multiple_of(self.interval)
    }
}

/// What surrounds a policy.
pub struct Surroundings<'a> {
    /// What it is kept near, if it is.
    pub reference: Option<Reference>,
    /// Who judges completions.
    pub scorer: &'a mut Scorer,
    /// How it is looked at.
    pub looks: Looks<'a>,
}

/// Trains `tuning` on `questions` from where it is, until its schedule ends or it is told to stop.
///
/// # Errors
/// When a reward or the loss is not a number, a prompt does not fit, or a file cannot be written.
pub fn train(
    tuning: &mut Tuning,
    questions: Vec<Question>,
    config: &GrpoConfig,
    around: &mut Surroundings<'_>,
    outputs: &Outputs<'_>,
    log: &mut RunLog,
) -> Result<()> {
    let StepConfig { updates, groups_each, schedule, grad_clip, most_tokens, .. } = config.steps;
    ensure!(updates > 0, "what was drawn is to be learned from at least once");
    let policy = GptModern::new(&tuning.config, tuning.parameters.root())?;
    let twin = GptModern::new(&tuning.config, tuning.parameters.inference().root())?;
    let mut prompts = Prompts::new(questions, config.seed)?;
    let how = (&config.objective, config.rollout.temperature());
    if tuning.state.step == 0 {
        look(&twin, tuning, around, outputs, log)?; // what there is to improve on
    }
    while tuning.state.step < schedule.total {
        let step = tuning.state.step + 1;
        let questions = prompts.of_step(step, config.prompts);
        let mut rng = of_step(config.seed, step);
        let drawn = log.time(
            |times| &mut times.generation,
            || {
                let by = (around.looks.exam.asking.speech, &mut *around.scorer);
                gather(&twin, by, &questions, (&config.rollout, &config.judgement), &mut rng)
            },
        )?;
        let model = around.reference.as_ref().map(|reference| &reference.model);
        let parts =
            log.time(|times| &mut times.scoring, || parts(&drawn, how, &twin, model, groups_each))?;
        let rate = schedule.at(step);
        let mut done: Vec<Update> = Vec::with_capacity(updates);
        for _ in 0..if parts.is_empty() { 0 } else { updates } {
            let update = log.time(|times| &mut times.training, || {
                let (loss, mut grads, seen) = gradients(&policy, &tuning.parameters, &parts, how)?;
                let norm = clip_grad_norm(&mut grads, &tuning.parameters, grad_clip)?;
                if !loss.is_finite() || !norm.is_finite() {
                    bail!("step {step}: the loss is {loss}, the gradient norm {norm}; try a smaller --lr");
                }
                tuning.optimizer.step(&grads, rate)?;
                Ok(Update { loss, norm, seen })
            })?;
            done.push(update);
        }
        tuning.state.step = step;
        if let Some(reference) = &mut around.reference {
            reference.renew(tuning)?;
        }
        log.step(step, &drawn, &done, rate)?;
        let last = step == schedule.total || most_tokens.is_some_and(|most| log.tokens >= most);
        if last || around.looks.due(step) {
            look(&twin, tuning, around, outputs, log)?;
        }
        let stop = outputs.stop(step);
        if last || stop || outputs.save_due(step) {
            save(tuning, around.reference.as_ref(), outputs)?;
        }
        if stop || last {
            break;
        }
    }
    Ok(())
}

/// Looks at `twin`, an inference twin of `tuning`, which is saved if none before was better.
fn look(
    twin: &GptModern,
    tuning: &mut Tuning,
    around: &mut Surroundings<'_>,
    outputs: &Outputs<'_>,
    log: &mut RunLog,
) -> Result<()> {
    let (looks, scorer) = (&around.looks, &mut *around.scorer);
    let (found, _) = log.pause(|| looks.exam.greedy(twin, looks.questions, scorer))?;
    log.validation(tuning.state.step, &found)?;
    let badness = -found.reward_mean; // `best` is the least of something
    if tuning.state.best.is_none_or(|best| badness <= best) {
        tuning.state.best = Some(badness);
        outputs.save_model(tuning)?;
    }
    Ok(())
}

fn save(tuning: &Tuning, reference: Option<&Reference>, outputs: &Outputs<'_>) -> Result<()> {
    let Some(place) = &outputs.place else { return Ok(()) };
    place.checkpoints.save(tuning.state.step, |folder| {
        tuning.save(folder, place.data)?;
        reference.map_or(Ok(()), |reference| reference.save(folder))
    })
}
