//! Demo: completions of a small pretrained model to arithmetic questions, before and after
//! fine-tuning.

use anyhow::Result;
use datasets::Example;
use modern::GptModern;
use tensor_core::AdamWConfig;

use super::arguments::DemoArgs;
use crate::arithmetic::{ProblemSet, Split};
use crate::arithmetic_questions::{
    ArithmeticQuestion, DemonstrationStyle, demonstrations, questions,
};
use crate::base_model::{BaseModelConfig, pretrain};
use crate::evaluation::GenerationEvalConfig;
use crate::source::test_examples;
use crate::{
    ChatTokenizer, RunOutputs, SftEvalMetrics, SftLog, SftValidator, TrainConfig, TrainState,
    evaluate, loss_mask, tokenize, train,
};

/// Number of questions in the printed table.
const N_SHOWN: usize = 6;
/// Number of demonstrations in the training set.
const N_DEMONSTRATIONS: usize = 80_000;

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
    println!("{}\n", loss_mask::render_loss_mask(&dataset.examples[0], &chat_tokenizer.tokenizer)?);

    let test_set = test_examples(ProblemSet::Sums);
    let eval_config = GenerationEvalConfig { batch_size: 100, max_new_tokens: 8 };
    let (before, completions_before) =
        evaluate(&checkpoint.model, &test_set, &chat_tokenizer, eval_config)?;
    let steps = args.steps.get();
    let optimizer = AdamWConfig { beta2: 0.999, weight_decay: 0.01, ..AdamWConfig::default() };
    let train_config =
        TrainConfig { optimizer, ..TrainConfig::with_defaults(64, steps, 1e-3, seed) };
    let validation: Vec<Example> = questions(ProblemSet::Sums, Split::Validation)
        .into_iter()
        .map(ArithmeticQuestion::to_example)
        .collect();
    let validator = SftValidator {
        examples: &validation,
        chat_tokenizer: &chat_tokenizer,
        eval_config,
        interval: 0,
        target_exact_match: None,
    };
    println!("Fine-tuning on demonstrations, {steps} steps of 64.");
    let mut log = SftLog::new(steps, steps / 20, 0, steps)?;
    let mut train_state = TrainState::new(config, checkpoint.parameters, train_config.optimizer)?;
    train(
        &mut train_state,
        &dataset.examples,
        &train_config,
        Some(&validator),
        &RunOutputs::default(),
        &mut log,
    )?;
    let model = GptModern::new(&config, train_state.parameters.for_inference().root())?;
    let (after, completions) = evaluate(&model, &test_set, &chat_tokenizer, eval_config)?;

    println!("\n{:42}  {:>12}  {:>7}  {:>8}", "test question", "before", "after", "expected");
    for i in 0..N_SHOWN {
        let short =
            |text: &str| text.trim().replace('\n', "⏎").chars().take(12).collect::<String>();
        let question = &test_set[i].prompt[0].content;
        let (before, after) = (short(&completions_before[i].text), short(&completions[i].text));
        println!("{question:42}  {before:>12}  {after:>7}  {:>8}", test_set[i].completion);
    }
    let print_row = |name: &str, metric: fn(&SftEvalMetrics) -> f64| {
        println!("{name:42}  {:>12.3}  {:>7.3}", metric(&before), metric(&after));
    };
    println!();
    print_row("exact match", |metrics| metrics.exact_match);
    print_row("EOS rate", |metrics| metrics.eos_rate);
    print_row("loss, nats per completion token", |metrics| metrics.loss);
    println!("\nThe model has learned the answer format; accuracy takes longer: part_6 train");
    Ok(())
}
