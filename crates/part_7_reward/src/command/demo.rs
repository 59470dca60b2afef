//! Demo: a small model is trained on polite and rude completions, and gives rewards to completions
//! about held-out facts.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use datasets::{Split, politeness};
use experiment::flags::ComputeFlags;
use experiment::picture::create_parent_folder;
use experiment::{LengthGrouping, Run, RunLog, TrainState};
use scaling::LrSchedule;
use sft::base_model::{self, BaseModelConfig};
use sft::one_line;
use tensor_core::AdamWConfig;

use super::eval::print_metrics;
use crate::evaluation::{normalization_of_pairs, write_histogram};
use crate::{
    LossKind, PreferenceLoss, RewardArchitecture, RewardCheckpoint, RewardModel, RewardValidator,
    TrainConfig, evaluate, tokenize_pairs, train,
};

/// Pairs to print, spread evenly over the test facts.
const N_PRINTED_PAIRS: usize = 4;

#[derive(Args)]
pub(super) struct DemoArgs {
    /// Pretraining steps of the base model
    #[arg(long, value_name = "N", default_value_t = 60)]
    base_steps: usize,
    /// Training steps on preferences
    #[arg(long, value_name = "N", default_value = "60")]
    steps: NonZeroUsize,
    /// Output file of the reward histogram (PNG)
    #[arg(
        long,
        visible_alias = "output-dir",
        value_name = "FILE",
        default_value = "runs/rewards.png"
    )]
    out: PathBuf,
    #[command(flatten)]
    compute: ComputeFlags,
}

pub(super) fn run(args: &DemoArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let (seed, steps) = (args.compute.seed, args.steps.get());
    create_parent_folder(&args.out)?;
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
        optimizer: AdamWConfig { beta2: 0.99, weight_decay: 0.01, ..AdamWConfig::default() }.into(),
        max_grad_norm: 1.,
        seed,
    };
    let mut state = TrainState::new(initial.parameters, train_config.optimizer)?;
    // The README's numbers are those of fixed buckets, whose fault, the same left-over examples in
    // every epoch, does not matter in a run of one epoch.
    state.progress.length_grouping = LengthGrouping::FixedBuckets;
    let model =
        RewardModel::new(&config, RewardArchitecture::CausalLastToken, &mut state.parameters)?;
    let validator = RewardValidator {
        pairs: &test_pairs,
        batch_size: 64,
        interval: 0,
        target_accuracy: None,
        model_saver: None,
    };
    let (run, mut log) = (Run::default(), RunLog::of_losses(steps)?);
    train(&model, &mut state, &train_pairs, &train_config, &validator, &run, &mut log)?;

    let model = model.for_inference(&state.parameters)?;
    let (metrics, rewards) = evaluate(&model, &test_pairs, 64)?;
    let normalization = normalization_of_pairs(&rewards);
    println!("\nreward   completion about a held-out fact");
    let stride = (preferences.len() / N_PRINTED_PAIRS).max(1);
    for (preference, pair) in preferences.iter().zip(&rewards).step_by(stride) {
        let [chosen, rejected] = pair.map(|reward| normalization.normalize(reward));
        println!("{chosen:6.2}   {}", one_line(&preference.chosen));
        println!("{rejected:6.2}   {}", one_line(&preference.rejected));
    }
    println!();
    print_metrics(&metrics, normalization, normalization);
    write_histogram(&args.out, &rewards, normalization)?;
    println!("histogram of the rewards: {}", args.out.display());
    Ok(())
}
