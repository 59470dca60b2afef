//! The demo: a small model learns manners from pairs of answers, and scores answers about facts that it was not asked before.

use anyhow::Result;
use scaling::Schedule;
use sft::arithmetic::Split;
use sft::base::{self, BaseConfig};
use sft::{Outputs, RunLog, Tuning};
use tensor_core::AdamWConfig;

use super::arguments::DemoArgs;
use super::report;
use crate::evaluation::normalisation;
use crate::{
    Architecture, Exam, LossKind, PreferenceLoss, RewardCheckpoint, RewardModel, TrainConfig,
    evaluate, histogram, manners, tokenize, train,
};

/// Pairs that are shown, each about another fact.
const SHOWN: usize = 4;

pub(super) fn run(args: &DemoArgs) -> Result<()> {
    let device = args.compute.open()?;
    let (seed, steps) = (args.compute.seed, args.steps.get());
    histogram::make_room(&args.out)?;
    println!("A small model reads stories and counts, {} steps.", args.base_steps);
    let base = BaseConfig { steps: args.base_steps, ..BaseConfig::default() };
    let checkpoint = base::pretrain(base, seed, &device)?;
    let begin = RewardCheckpoint::begin(checkpoint, Architecture::Causal, None, seed)?;
    let config = *begin.model.body().config();
    let pairs = tokenize(&manners::pairs(32 * steps, seed), &begin.speech, config.context)?.pairs;
    let preferences = manners::set_apart(Split::HeldOut);
    let held_out = tokenize(&preferences, &begin.speech, config.context)?.pairs;

    println!("It learns which of two answers is the polite one, {steps} steps of 32 pairs.");
    let train_config = TrainConfig {
        batch_size: 32,
        accumulate: 1,
        loss: PreferenceLoss { kind: LossKind::BradleyTerry, centring: 0. },
        schedule: Schedule::cosine(1e-3, steps),
        optimizer: AdamWConfig { beta2: 0.99, weight_decay: 0.01, ..AdamWConfig::default() },
        grad_clip: 1.,
        seed,
    };
    let mut tuning = Tuning::new(config, begin.parameters, train_config.optimizer)?;
    let mut log = RunLog::new(steps, steps / 20, 0, steps)?;
    let exam = Exam { pairs: &held_out, batch_size: 64, interval: 0, stop_at: None };
    let learner = (&mut tuning, Architecture::Causal);
    train(learner, &pairs, &train_config, &exam, &Outputs::default(), &mut log)?;

    let mut twin = tuning.parameters.inference();
    let model = RewardModel::new(&config, Architecture::Causal, &mut twin)?;
    let (found, scores) = evaluate(&model, &held_out, 64)?;
    let scale = normalisation(&scores);
    println!("\nreward   an answer about a fact that is held out");
    let apart = preferences.len() / SHOWN;
    for (preference, pair) in preferences.iter().zip(&scores).step_by(apart.max(1)) {
        let [chosen, rejected] = pair.map(|score| scale.apply(score));
        println!("{chosen:6.2}   {}", preference.chosen);
        println!("{rejected:6.2}   {}", preference.rejected);
    }
    println!();
    report::tell(&found, scale, scale);
    histogram::write(&args.out, &scores, scale)?;
    println!("how the rewards are spread: {}", args.out.display());
    Ok(())
}
