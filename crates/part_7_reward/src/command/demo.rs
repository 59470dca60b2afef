//! The demo: a small model learns manners from pairs of answers, and scores answers about facts that it was not asked before.

use anyhow::Result;
use scaling::LrSchedule;
use sft::arithmetic::Split;
use sft::base_model::{self, BaseModelConfig};
use sft::{RunOutputs, SftLog, TrainState};
use tensor_core::AdamWConfig;

use super::arguments::DemoArgs;
use super::report;
use crate::evaluation::normalization_of_pairs;
use crate::{
    LossKind, PreferenceLoss, RewardArchitecture, RewardCheckpoint, RewardModel, RewardValidator,
    TrainConfig, evaluate, histogram, politeness, tokenize_pairs, train,
};

/// Pairs that are shown, each about another fact.
const SHOWN: usize = 4;

pub(super) fn run(args: &DemoArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let (seed, steps) = (args.compute.seed, args.steps.get());
    histogram::create_parent_folder(&args.out)?;
    println!("A small model reads stories and counts, {} steps.", args.base_steps);
    let base = BaseModelConfig { steps: args.base_steps, ..BaseModelConfig::default() };
    let checkpoint = base_model::pretrain(base, seed, &device)?;
    let begin =
        RewardCheckpoint::from_language_model(checkpoint, RewardArchitecture::Causal, None, seed)?;
    let config = *begin.model.backbone().config();
    let pairs = tokenize_pairs(
        &politeness::train_pairs(32 * steps, seed),
        &begin.chat_tokenizer,
        config.context_len,
    )?
    .pairs;
    let preferences = politeness::eval_pairs(Split::Test);
    let held_out = tokenize_pairs(&preferences, &begin.chat_tokenizer, config.context_len)?.pairs;

    println!("It learns which of two answers is the polite one, {steps} steps of 32 pairs.");
    let train_config = TrainConfig {
        batch_size: 32,
        grad_accum_steps: 1,
        loss: PreferenceLoss { kind: LossKind::BradleyTerry, center_rewards_coefficient: 0. },
        schedule: LrSchedule::cosine(1e-3, steps),
        optimizer: AdamWConfig { beta2: 0.99, weight_decay: 0.01, ..AdamWConfig::default() },
        max_grad_norm: 1.,
        seed,
    };
    let mut tuning = TrainState::new(config, begin.parameters, train_config.optimizer)?;
    let mut log = SftLog::new(steps, steps / 20, 0, steps)?;
    let exam =
        RewardValidator { pairs: &held_out, batch_size: 64, interval: 0, target_accuracy: None };
    let learner = (&mut tuning, RewardArchitecture::Causal);
    train(learner, &pairs, &train_config, &exam, &RunOutputs::default(), &mut log)?;

    let mut twin = tuning.parameters.for_inference();
    let model = RewardModel::new(&config, RewardArchitecture::Causal, &mut twin)?;
    let (found, scores) = evaluate(&model, &held_out, 64)?;
    let scale = normalization_of_pairs(&scores);
    println!("\nreward   an answer about a fact that is held out");
    let apart = preferences.len() / SHOWN;
    for (preference, pair) in preferences.iter().zip(&scores).step_by(apart.max(1)) {
        let [chosen, rejected] = pair.map(|score| scale.normalize(score));
        println!("{chosen:6.2}   {}", preference.chosen);
        println!("{rejected:6.2}   {}", preference.rejected);
    }
    println!();
    report::print_metrics(&found, scale, scale);
    histogram::write(&args.out, &scores, scale)?;
    println!("how the rewards are spread: {}", args.out.display());
    Ok(())
}
