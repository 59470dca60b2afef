//! 8.4 The loop: rollout → score → advantage → update.

use std::time::Instant;

use anyhow::Result;
use modern::GptModern;
use scaling::Schedule;
use serde_json::{Value, json};
use sft::{Outputs, Speech};
use tensor_core::Rng;

use crate::alarms::{Alarms, Signs};
use crate::exam::Exam;
use crate::experience::{Experience, RewardConfig, not_a_number, scores, texts};
use crate::kl::KlControl;
use crate::learner::{Learner, Models};
use crate::pretraining_mix::PretrainingMix;
use crate::prompts::{Prompts, Question, of_step};
use crate::rollout::{RolloutConfig, rollout};
use crate::run_log::RunLog;
use crate::scorer::Scorer;
use crate::update::{Pass, UpdateConfig, Updated, update};

/// What decides where a run arrives.
#[derive(Debug, Clone)]
pub struct PpoConfig {
    /// Prompts of each step.
    pub prompts: usize,
    /// How they are answered.
    pub rollout: RolloutConfig,
    /// How answers are judged.
    pub rewards: RewardConfig,
    /// How much a nat of KL to the reference costs.
    pub kl_price: KlControl,
    /// How is learned from it.
    pub update: UpdateConfig,
    /// The policy's rate of each step, and how many there are.
    pub schedule: Schedule,
    /// The critic's rate, in rates of the policy.
    pub critic_rate: f64,
    /// Of prompts, responses and the order of mini-batches.
    pub seed: u64,
}

/// What surrounds a learner.
pub struct Surroundings<'a> {
    /// The policy as it was.
    pub reference: &'a GptModern,
    /// How tokens become words.
    pub speech: &'a Speech,
    /// Who judges responses.
    pub scorer: &'a mut Scorer,
    /// Examples that are mixed in.
    pub mix: Option<PretrainingMix>,
}

/// Trains `learner` from where it is, until its schedule ends, it is told to stop, or `exam` is passed.
///
/// # Errors
/// When the loss stops being a number, the scorer fails, or a file cannot be written.
pub fn train(
    learner: &mut Learner,
    around: &mut Surroundings<'_>,
    prompts: &mut Prompts,
    (config, exam): (&PpoConfig, &Exam<'_>),
    outputs: &Outputs<'_>,
    log: &mut RunLog,
) -> Result<()> {
    let (models, mut alarms) = (learner.models()?, Alarms::default());
    if learner.policy.state.step == 0 {
        exam.sit(&models.writer, &mut learner.policy, around.scorer, outputs, log)?; // what there is to improve on
    }
    let total = config.schedule.total;
    while learner.policy.state.step < total && !learner.policy.state.passed {
        let step = learner.policy.state.step + 1;
        let mut rng = of_step(config.seed, step);
        let questions = prompts.of_step(step, config.prompts);
        match experience(learner, &models, around, &questions, config, &mut rng)? {
            Err(bad) => log.alarm(step, &format!("step {step} is skipped: {bad}"))?,
            Ok((experience, rollout_s)) => {
                let begun = Instant::now();
                let updated =
                    learn(learner, &models, around, &experience, (config, step), &mut rng)?;
                let seconds = [rollout_s, begun.elapsed().as_secs_f64()];
                tell(
                    step,
                    (learner, config),
                    (&experience, &questions),
                    &updated,
                    seconds,
                    (log, &mut alarms),
                )?;
            }
        }
        learner.policy.state.step = step;
        if step == total || exam.due(step) {
            exam.sit(&models.writer, &mut learner.policy, around.scorer, outputs, log)?;
        }
        let stop = outputs.stop(step);
        if step == total || stop || learner.policy.state.passed || outputs.save_due(step) {
            save(learner, outputs)?;
        }
        if stop {
            break;
        }
    }
    Ok(())
}

/// Rollout, scores and advantages, and the seconds that the rollout took; or what is wrong with the scores.
fn experience(
    learner: &Learner,
    models: &Models,
    around: &mut Surroundings<'_>,
    questions: &[Question],
    config: &PpoConfig,
    rng: &mut Rng,
) -> Result<Result<(Experience, f64), String>> {
    let prompts: Vec<Vec<u32>> = questions.iter().map(|one| one.prompt.clone()).collect();
    let begun = Instant::now();
    let groups = rollout(&models.writer, &prompts, &config.rollout, rng)?;
    let seconds = begun.elapsed().as_secs_f64();
    let texts = texts(&groups, around.speech)?;
    let scores = scores(&groups, questions, &texts, around.scorer, rng)?;
    if let Some(bad) = not_a_number(&scores, &texts) {
        return Ok(Err(bad));
    }
    let at_a_time = config.update.at_a_time(groups.len());
    let experience = Experience::of(
        groups,
        (texts, scores),
        (models, around.reference),
        (&config.rollout, &config.rewards),
        (learner.state.kl_price, at_a_time),
    )?;
    Ok(Ok((experience, seconds)))
}

/// The update of step `step`, and the price of KL after it.
fn learn(
    learner: &mut Learner,
    models: &Models,
    around: &mut Surroundings<'_>,
    experience: &Experience,
    (config, step): (&PpoConfig, usize),
    rng: &mut Rng,
) -> Result<Updated> {
    let UpdateConfig { epochs, mini_batches, accumulate, .. } = config.update;
    if let Some(mix) = &mut around.mix {
        mix.seek(step * epochs * mini_batches * accumulate);
    }
    let rate = config.schedule.at(step);
    let pass = Pass {
        config: &config.update,
        temperature: config.rollout.temperature(),
        rates: [rate, rate * config.critic_rate],
        mix: around.mix.as_mut(),
    };
    let updated = update(learner, models, experience, pass, rng)?;
    let (price, n) = (learner.state.kl_price, experience.scores.len());
    learner.state.kl_price = config.kl_price.next(price, experience.kl, n);
    Ok(updated)
}

/// Shows and records a step.
fn tell(
    step: usize,
    (learner, config): (&Learner, &PpoConfig),
    (experience, questions): (&Experience, &[Question]),
    updated: &Updated,
    [rollout_s, update_s]: [f64; 2],
    (log, alarms): (&mut RunLog, &mut Alarms),
) -> Result<()> {
    let responses: Vec<_> = experience.groups.iter().flat_map(|group| &group.responses).collect();
    let n = responses.len() as f64;
    let tokens: usize = responses.iter().map(|one| one.tokens.len()).sum();
    let mean = experience.scores.iter().sum::<f64>() / n;
    let deviation =
        (experience.scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / n).sqrt();
    let eos_rate = responses.iter().filter(|one| one.ended()).count() as f64 / n;
    let signs = Signs {
        entropy: updated.entropy,
        kl_per_token: experience.kl_per_token,
        eos_rate,
        first_ratio_error: updated.first_ratio_error,
        scores_alike: deviation == 0. && mean < 1.,
    };
    for alarm in alarms.check(step, &signs) {
        log.alarm(step, &alarm)?;
    }
    let mut figures = json!({
        "reward_std": deviation, "kl": experience.kl, "kl_per_token": experience.kl_per_token,
        "kl_price": learner.state.kl_price, "eos_rate": eos_rate, "length_mean": tokens as f64 / n,
        "explained_variance": experience.explained_variance()?, "lr": config.schedule.at(step),
        "rollout_tokens_per_s": tokens as f64 / rollout_s, "update_tokens_per_s": updated.tokens_read as f64 / update_s,
    });
    if let (Value::Object(figures), Value::Object(updated)) =
        (&mut figures, serde_json::to_value(updated)?)
    {
        figures.extend(updated);
    }
    if log.due(step) {
        log.responses(step, &experience.scores, &table(experience, questions))?;
    }
    log.step(step, mean, tokens, figures)
}

/// Some responses with their scores, as a Markdown table.
fn table(experience: &Experience, questions: &[Question]) -> String {
    let asked = experience.groups.iter().zip(questions);
    let asked = asked.flat_map(|(group, question)| vec![question; group.responses.len()]);
    let all: Vec<_> = asked.zip(experience.texts.iter().zip(&experience.scores)).collect();
    let cell = |text: &str| text.trim().replace('\n', " ⏎ ").replace('|', "\\|");
    let mut table = "| prompt | response | score |\n| --- | --- | --- |\n".to_string();
    for (question, (text, score)) in all.iter().step_by(all.len().div_ceil(8).max(1)) {
        let said = question.example.prompt.last().map_or("", |message| &message.content);
        table += &format!("| {} | {} | {score:.3} |\n", cell(said), cell(text));
    }
    table
}

fn save(learner: &Learner, outputs: &Outputs<'_>) -> Result<()> {
    let Some(place) = &outputs.place else { return Ok(()) };
    let step = learner.policy.state.step;
    place.checkpoints.save(step, |folder| learner.save(folder, place.data))
}
