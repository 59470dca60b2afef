//! The demo: a model that has read stories is asked sums; then it is shown how to answer, and asked again.

use anyhow::Result;
use modern::GptModern;
use tensor_core::AdamWConfig;

use super::arguments::DemoArgs;
use crate::arithmetic::{Set, Split};
use crate::base::{BaseConfig, pretrain};
use crate::evaluation::Extent;
use crate::questions::{Demos, Question, demonstrations, questions};
use crate::source::held_out;
use crate::{
    Evaluation, Exam, Example, Outputs, RunLog, Speech, TrainConfig, Tuning, evaluate, mask_print,
    tokenize, train,
};

/// Questions that are shown.
const SHOWN: usize = 6;
/// Demonstrations that are drawn.
const DEMONSTRATIONS: usize = 80_000;

pub(super) fn run(args: &DemoArgs) -> Result<()> {
    let device = args.compute.open()?;
    let seed = args.compute.seed;
    println!("A small model reads stories and counts, {} steps.", args.base_steps);
    let base = BaseConfig { steps: args.base_steps, ..BaseConfig::default() };
    let mut checkpoint = pretrain(base, seed, &device)?;
    let speech = Speech::of(&mut checkpoint, None)?;
    let config = *checkpoint.model.config();
    let data =
        tokenize(&demonstrations(DEMONSTRATIONS, Demos::Clean, seed), &speech, config.context)?;
    println!("\nA demonstration, what is learned marked:");
    println!("{}\n", mask_print::shown(&data.examples[0], &speech.tokenizer)?);

    let wanted = held_out(Set::Sums);
    let extent = Extent { batch_size: 100, max_new_tokens: 8 };
    let (before, before_answers) = evaluate(&checkpoint.model, &wanted, &speech, extent)?;
    let steps = args.steps.get();
    let optimizer = AdamWConfig { beta2: 0.999, weight_decay: 0.01, ..AdamWConfig::default() };
    let config_of_run = TrainConfig { optimizer, ..TrainConfig::usual(64, steps, 1e-3, seed) };
    let validation: Vec<Example> =
        questions(Set::Sums, Split::Validation).into_iter().map(Question::example).collect();
    let exam = Exam { examples: &validation, speech: &speech, extent, interval: 0, stop_at: None };
    println!("It is shown how to answer, {steps} steps of 64 demonstrations.");
    let mut log = RunLog::new(steps, steps / 20, 0, steps)?;
    let mut tuning = Tuning::new(config, checkpoint.parameters, config_of_run.optimizer)?;
    train(&mut tuning, &data.examples, &config_of_run, Some(&exam), &Outputs::default(), &mut log)?;
    let model = GptModern::new(&config, tuning.parameters.inference().root())?;
    let (after, answers) = evaluate(&model, &wanted, &speech, extent)?;

    println!("\n{:42}  {:>12}  {:>7}  {:>7}", "held out", "before", "after", "wanted");
    for i in 0..SHOWN {
        let short =
            |text: &str| text.trim().replace('\n', "⏎").chars().take(12).collect::<String>();
        let question = &wanted[i].prompt[0].content;
        let (a, b) = (short(&before_answers[i].text), short(&answers[i].text));
        println!("{question:42}  {a:>12}  {b:>7}  {:>7}", wanted[i].response);
    }
    let line = |name: &str, of: fn(&Evaluation) -> f64| {
        println!("{name:42}  {:>12.3}  {:>7.3}", of(&before), of(&after));
    };
    println!();
    line("exact match", |found| found.exact_match);
    line("ended by itself", |found| found.eos_rate);
    line("loss, nats per token of the answer", |found| found.loss);
    println!("\nIt has learned to answer; to be right takes longer: part_6 train");
    Ok(())
}
