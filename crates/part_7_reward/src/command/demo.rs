//! Demo: a small model is trained on polite and rude completions, and gives rewards to completions
//! about held-out facts.

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

/// Pairs to print, spread evenly over the test facts.
const N_PRINTED_PAIRS: usize = 4;

pub(super) fn run(args: &DemoArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let (seed, steps) = (args.compute.seed, args.steps.get());
    histogram::create_parent_folder(&args.out)?;
    println!("Pretraining a small model on stories and counting: {} steps.", args.base_steps);
    let base = BaseModelConfig { steps: args.base_steps, ..BaseModelConfig::default() };
    let checkpoint = base_model::pretrain(base, seed, &device)?;
    let initial = RewardCheckpoint::from_language_model(
        checkpoint,
        RewardArchitecture::CausalLastToken,
        None,
        seed,
    )?;
    let config = *initial.model.backbone().config();
    let tokenizer = &initial.chat_tokenizer;
    let preferences = politeness::train_pairs(32 * steps, seed);
    let train_pairs = tokenize_pairs(&preferences, tokenizer, config.context_len)?.pairs;
    let preferences = politeness::eval_pairs(Split::Test);
    let test_pairs = tokenize_pairs(&preferences, tokenizer, config.context_len)?.pairs;

    println!("Training it to prefer polite completions: {steps} steps of 32 pairs.");
    let train_config = TrainConfig {
        batch_size: 32,
        grad_accum_steps: 1,
        loss: PreferenceLoss { kind: LossKind::BradleyTerry, center_rewards_coefficient: 0. },
        schedule: LrSchedule::cosine(1e-3, steps),
        optimizer: AdamWConfig { beta2: 0.99, weight_decay: 0.01, ..AdamWConfig::default() },
        max_grad_norm: 1.,
        seed,
    };
    let mut train_state = TrainState::new(config, initial.parameters, train_config.optimizer)?;
    let mut log = SftLog::new(steps, steps / 20, 0, steps)?;
    let validator =
        RewardValidator { pairs: &test_pairs, batch_size: 64, interval: 0, target_accuracy: None };
    let trainee = (&mut train_state, RewardArchitecture::CausalLastToken);
    train(trainee, &train_pairs, &train_config, &validator, &RunOutputs::default(), &mut log)?;

    let mut parameters = train_state.parameters.for_inference();
    let model = RewardModel::new(&config, RewardArchitecture::CausalLastToken, &mut parameters)?;
    let (metrics, rewards) = evaluate(&model, &test_pairs, 64)?;
    let normalization = normalization_of_pairs(&rewards);
    println!("\nreward   completion about a held-out fact");
    let stride = (preferences.len() / N_PRINTED_PAIRS).max(1);
    for (preference, pair) in preferences.iter().zip(&rewards).step_by(stride) {
        let [chosen, rejected] = pair.map(|reward| normalization.normalize(reward));
        println!("{chosen:6.2}   {}", preference.chosen);
        println!("{rejected:6.2}   {}", preference.rejected);
    }
    println!();
    report::print_metrics(&metrics, normalization, normalization);
    histogram::write(&args.out, &rewards, normalization)?;
    println!("histogram of the rewards: {}", args.out.display());
    Ok(())
}
