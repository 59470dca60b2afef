//! `part_8 eval`: a policy against its reference, on held-out prompts.

use std::path::Path;

use anyhow::{Context, Result};
use datasets::Example;
use experiment::RunFolder;
use modern::SamplingStrategy;
use sft::arithmetic_questions::DemonstrationStyle;
use sft::{FinetunedModel, SftSource, one_line};
use tensor_core::Rng;

use super::arguments::EvalArgs;
use super::report::print_comparison;
use crate::reference::reference_of_finetuned;
use crate::{CompletionEvalConfig, compare_to_reference, prompts};

pub(super) fn run(args: &EvalArgs) -> Result<()> {
    args.reward_fn.check(&args.data.data)?;
    let device = args.compute.open_device()?;
    let examples = load_eval_examples(args)?;
    let finetuned = args.finetuned.open(&device)?;
    let reference =
        reference_of_finetuned(&args.finetuned, args.reference.as_deref(), &finetuned, &device)?;
    let reference =
        reference.context("the reference model is not known: name it with --reference")?;
    let FinetunedModel { model, chat_tokenizer, .. } = finetuned;
    let max_new_tokens =
        args.max_new_tokens.map_or(args.data.default_max_new_tokens(), std::num::NonZeroUsize::get);
    let context_len = model.config().context_len.min(reference.config().context_len);
    let (mut prompts, n_dropped) =
        prompts::tokenize_prompts(examples, &chat_tokenizer, context_len, max_new_tokens)?;
    if n_dropped > 0 {
        println!("{n_dropped} prompts were dropped because they leave no room for a completion");
    }
    prompts.truncate(args.eval_examples.get());
    let batch_size = args.batch_size.get();
    let mut reward_fn =
        args.reward_fn.open_reward_fn(&args.data.data, &chat_tokenizer, batch_size, &device)?;
    let eval_config =
        CompletionEvalConfig { chat_tokenizer: &chat_tokenizer, max_new_tokens, batch_size };
    let strategy = SamplingStrategy::new(args.temperature, None, None, None);
    let mut rng = Rng::new(args.compute.seed);
    let models = [&model, &reference];
    let (comparison, completions) = compare_to_reference(
        models,
        &prompts,
        eval_config,
        strategy,
        &mut *reward_fn.reward_fn,
        &mut rng,
    )?;
    if args.json {
        println!("{}", serde_json::to_string(&comparison)?);
        return Ok(());
    }
    for (i, prompt) in prompts.iter().enumerate().take(4) {
        let message = prompt.example.prompt.last().map_or("", |message| &message.content);
        println!("prompt     {}", one_line(message));
        for (model, completions) in ["policy", "reference"].iter().zip(&completions) {
            let completion = &completions[i];
            println!("  {model:9} {:8.3}  {}", completion.reward, one_line(&completion.text));
        }
    }
    print_comparison(&comparison);
    Ok(())
}

/// Examples to evaluate on: held-out sums or a file's rows; of the run's own data, the validation
/// rows.
fn load_eval_examples(args: &EvalArgs) -> Result<Vec<Example>> {
    let (source, columns) = args.data.open_source()?;
    let run = RunFolder::read_settings(Path::new(&args.finetuned.model))?;
    let same = run.filter(|run| run["data"] == args.data.data && source != SftSource::Arithmetic);
    let Some(run) = same else { return source.load_eval_examples(columns.as_ref()) };
    let (Some(fraction), Some(seed)) = (run["validation"].as_f64(), run["seed"].as_u64()) else {
        return source.load_eval_examples(columns.as_ref());
    };
    println!("evaluating on the validation rows of the run's data; it was trained on the others");
    let split =
        source.load_dataset(columns.as_ref(), (1, DemonstrationStyle::Clean), fraction, seed)?;
    Ok(split.validation)
}
