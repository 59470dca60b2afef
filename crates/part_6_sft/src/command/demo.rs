//! The demo: a model that has read stories is asked sums; then it is shown how to answer, and asked again.

use anyhow::Result;
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
    ChatTokenizer, Example, RunOutputs, SftEvalMetrics, SftLog, SftValidator, TrainConfig,
    TrainState, evaluate, loss_mask, tokenize, train,
};

/// Questions that are shown.
const SHOWN: usize = 6;
/// Demonstrations that are drawn.
const DEMONSTRATIONS: usize = 80_000;

pub(super) fn run(args: &DemoArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let seed = args.compute.seed;
    println!("A small model reads stories and counts, {} steps.", args.base_steps);
    let base = BaseModelConfig { steps: args.base_steps, ..BaseModelConfig::default() };
    let mut checkpoint = pretrain(base, seed, &device)?;
    let speech = ChatTokenizer::from_checkpoint(&mut checkpoint, None)?;
    let config = *checkpoint.model.config();
    let examples = demonstrations(DEMONSTRATIONS, DemonstrationStyle::Clean, seed);
    let data = tokenize(&examples, &speech, config.context_len)?;
    println!("\nA demonstration, what is learned marked:");
    println!("{}\n", loss_mask::render_loss_mask(&data.examples[0], &speech.tokenizer)?);

    let wanted = test_examples(ProblemSet::Sums);
    let extent = GenerationEvalConfig { batch_size: 100, max_new_tokens: 8 };
    let (before, before_answers) = evaluate(&checkpoint.model, &wanted, &speech, extent)?;
    let steps = args.steps.get();
    let optimizer = AdamWConfig { beta2: 0.999, weight_decay: 0.01, ..AdamWConfig::default() };
    let config_of_run =
        TrainConfig { optimizer, ..TrainConfig::with_defaults(64, steps, 1e-3, seed) };
    let validation: Vec<Example> = questions(ProblemSet::Sums, Split::Validation)
        .into_iter()
        .map(ArithmeticQuestion::to_example)
        .collect();
    let exam = SftValidator {
        examples: &validation,
        chat_tokenizer: &speech,
        eval_config: extent,
        interval: 0,
        target_exact_match: None,
    };
    println!("It is shown how to answer, {steps} steps of 64 demonstrations.");
    let mut log = SftLog::new(steps, steps / 20, 0, steps)?;
    let mut tuning = TrainState::new(config, checkpoint.parameters, config_of_run.optimizer)?;
    train(
        &mut tuning,
        &data.examples,
        &config_of_run,
        Some(&exam),
        &RunOutputs::default(),
        &mut log,
    )?;
    let model = GptModern::new(&config, tuning.parameters.for_inference().root())?;
    let (after, answers) = evaluate(&model, &wanted, &speech, extent)?;

    println!("\n{:42}  {:>12}  {:>7}  {:>7}", "held out", "before", "after", "wanted");
    for i in 0..SHOWN {
        let short =
            |text: &str| text.trim().replace('\n', "⏎").chars().take(12).collect::<String>();
        let question = &wanted[i].prompt[0].content;
        let (a, b) = (short(&before_answers[i].text), short(&answers[i].text));
        println!("{question:42}  {a:>12}  {b:>7}  {:>7}", wanted[i].completion);
    }
    let line = |name: &str, of: fn(&SftEvalMetrics) -> f64| {
        println!("{name:42}  {:>12.3}  {:>7.3}", of(&before), of(&after));
    };
    println!();
    line("exact match", |found| found.exact_match);
    line("ended by itself", |found| found.eos_rate);
    line("loss, nats per token of the answer", |found| found.loss);
    println!("\nIt has learned to answer; to be right takes longer: part_6 train");
    Ok(())
}
