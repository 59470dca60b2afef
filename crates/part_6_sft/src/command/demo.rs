//! Demo: completions of a small pretrained model to arithmetic questions, before and after
//! fine-tuning.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use datasets::arithmetic::ProblemSet;
use datasets::arithmetic_questions::{DemonstrationStyle, demonstrations, test_examples};
use experiment::flags::ComputeFlags;
use modern::GptModern;
use tensor_core::AdamWConfig;

use crate::base_model::{BaseModelConfig, pretrain};
use crate::evaluation::{GenerationEvalConfig, print_before_and_after};
use crate::training::train_in_memory;
use crate::{ChatTokenizer, SftEvalMetrics, TrainConfig, evaluate, tokenize};

/// Number of demonstrations in the training set.
const N_DEMONSTRATIONS: usize = 80_000;

#[derive(Args)]
pub(super) struct DemoArgs {
    /// Optimizer steps of pretraining
    #[arg(long, value_name = "N", default_value_t = 150)]
    base_steps: usize,
    /// Maximum optimizer steps of fine-tuning
    #[arg(long, value_name = "N", default_value = "1200")]
    steps: NonZeroUsize,
    #[command(flatten)]
    compute: ComputeFlags,
}

pub(super) fn run(args: &DemoArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let seed = args.compute.seed;
    println!("Pretraining a small model on stories and counting, {} steps.", args.base_steps);
    let base = BaseModelConfig { steps: args.base_steps, ..BaseModelConfig::default() };
    let mut checkpoint = pretrain(base, seed, &device)?;
    let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, None)?;
    let config = *checkpoint.model.config();
    let examples = demonstrations(N_DEMONSTRATIONS, DemonstrationStyle::Clean, seed);
    let dataset = tokenize(&examples, &chat_tokenizer, config.context_len)?;
    println!("\nA demonstration; ^ marks the tokens in the loss:");
    println!("{}\n", dataset.examples[0].render_loss_mask(&chat_tokenizer.tokenizer)?);

    let test_set = test_examples(ProblemSet::Sums);
    let eval_config = GenerationEvalConfig { batch_size: 100, max_new_tokens: 8, max_length: None };
    let (before, completions_before) =
        evaluate(&checkpoint.model, &test_set, &chat_tokenizer, eval_config)?;
    let steps = args.steps.get();
    let optimizer = AdamWConfig { beta2: 0.999, weight_decay: 0.01, ..AdamWConfig::default() };
    let train_config = TrainConfig {
        optimizer: optimizer.into(),
        ..TrainConfig::with_defaults(64, steps, 1e-3, seed)
    };
    println!("Fine-tuning on demonstrations, {steps} steps of 64.");
    let state = train_in_memory(&config, checkpoint.parameters, &dataset.examples, &train_config)?;
    let model = GptModern::new(&config, state.parameters.for_inference().root())?;
    let (after, completions) = evaluate(&model, &test_set, &chat_tokenizer, eval_config)?;

    print_before_and_after(
        test_set.iter(),
        completions_before.iter().map(|completion| completion.text.as_str()),
        completions.iter().map(|completion| completion.text.as_str()),
    );
    let print_row = |name: &str, metric: fn(&SftEvalMetrics) -> f64| {
        println!("{name:42}  {:>12.3}  {:>12.3}", metric(&before), metric(&after));
    };
    print_row("exact match", |metrics| metrics.exact_match);
    print_row("EOS rate", |metrics| metrics.eos_rate);
    print_row("loss, nats per completion token", |metrics| metrics.loss);
    println!("\nThe model has learned the answer format; accuracy takes longer: part_6 train");
    Ok(())
}
