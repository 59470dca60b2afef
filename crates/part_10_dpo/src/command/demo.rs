//! Demo: a small model learns to prefer polite completions, without a reward model.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use datasets::{Split, politeness};
use experiment::flags::ComputeFlags;
use experiment::number::positive;
use modern::Checkpoint;
use sft::base_model::{self, BaseModelConfig};
use sft::{ChatTokenizer, one_line};

use super::small_run::{BATCH_SIZE, dataset, train_small};
use crate::log_probs::log_probs_of_examples;
use crate::losses::DpoLoss;
use crate::validator::evaluate;

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
    /// β: small values allow the policy to go far from the reference
    #[arg(long, value_name = "X", default_value_t = 0.1, value_parser = positive)]
    beta: f64,
    #[command(flatten)]
    compute: ComputeFlags,
}

pub(super) fn run(args: &DemoArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let seed = args.compute.seed;
    let steps = args.steps.get();
    let loss = DpoLoss::sigmoid(args.beta);
    println!("Pretraining a small model on stories and counting: {} steps.", args.base_steps);
    let base = BaseModelConfig { steps: args.base_steps, ..BaseModelConfig::default() };
    let mut checkpoint = base_model::pretrain(base, seed, &device)?;
    let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, None)?;
    let Checkpoint { model: reference, parameters, .. } = checkpoint;

    println!("Training it to prefer polite completions: {steps} steps of {BATCH_SIZE} pairs.");
    let train_pairs = politeness::train_pairs(BATCH_SIZE * steps, seed);
    let test_pairs = politeness::eval_pairs(Split::Test);
    let data = dataset(train_pairs, &chat_tokenizer, &reference)?;
    let test = dataset(test_pairs.clone(), &chat_tokenizer, &reference)?;
    let policy = train_small(&reference, parameters, &data, &test, loss, steps, seed)?;

    let log_probs = log_probs_of_examples(&policy.models.inference, &test.examples, BATCH_SIZE)?;
    println!("\nreward   log π before, after   completion about a held-out fact");
    let stride = (test_pairs.len() / N_PRINTED_PAIRS).max(1);
    let pairs = test_pairs.iter().zip(&test.examples).zip(log_probs);
    for ((pair, example), log_probs) in pairs.step_by(stride) {
        let texts = [&pair.chosen, &pair.rejected];
        for ((text, before), after) in texts.into_iter().zip(&example.ref_log_probs).zip(log_probs)
        {
            let reward = loss.beta * (after - before);
            println!("{reward:6.2}   {before:12.1}, {after:5.1}   {}", one_line(text));
        }
    }
    let metrics = evaluate(&policy.models.inference, &test, &loss, BATCH_SIZE)?;
    println!(
        "\n{} test pairs: accuracy {:.3} of the implicit rewards β log(π/π_ref), margin {:.3}",
        test.examples.len(),
        metrics.accuracy.unwrap_or(0.5),
        metrics.margin
    );
    Ok(())
}
