//! `part_8 eval`: a policy beside its reference, on questions that the policy did not learn from.

use std::path::Path;

use anyhow::{Context, Result};
use modern::SamplingStrategy;
use sft::arithmetic_questions::DemonstrationStyle;
use sft::{Example, FinetunedModel, SftSource, one_line};
use tensor_core::Rng;
use tiny_gpt::RunFolder;

use super::arguments::EvalArgs;
use super::report::print_comparison;
use crate::reference::reference_of_finetuned;
use crate::{CompletionEvalConfig, compare_to_reference, prompts};

pub(super) fn run(args: &EvalArgs) -> Result<()> {
    args.reward_fn.check(&args.data.data)?;
    let device = args.compute.open_device()?;
    let examples = load_eval_examples(args)?;
    let tuned = args.finetuned.open(&device)?;
    let reference =
        reference_of_finetuned(&args.finetuned, args.reference.as_deref(), &tuned, &device)?;
    let reference = reference.context("--reference: the model to compare with is not known")?;
    let FinetunedModel { model, chat_tokenizer: speech, .. } = tuned;
    let max_new_tokens =
        args.max_new_tokens.map_or(args.data.default_max_new_tokens(), std::num::NonZeroUsize::get);
    let context = model.config().context_len.min(reference.config().context_len);
    let (mut questions, left_out) =
        prompts::tokenize_prompts(examples, &speech, context, max_new_tokens)?;
    if left_out > 0 {
        println!(
            "{left_out} questions were left out, as their prompt leaves no room for an answer"
        );
    }
    questions.truncate(args.eval_examples.get());
    let batch_size = args.batch_size.get();
    let mut judge = args.reward_fn.open_reward_fn(&args.data.data, &speech, batch_size, &device)?;
    let asking = CompletionEvalConfig { chat_tokenizer: &speech, max_new_tokens, batch_size };
    let choice = SamplingStrategy::new(args.temperature, None, None, None);
    let mut rng = Rng::new(args.compute.seed);
    let both = [&model, &reference];
    let (found, answers) =
        compare_to_reference(both, &questions, asking, choice, &mut *judge.reward_fn, &mut rng)?;
    if args.json {
        println!("{}", serde_json::to_string(&found)?);
        return Ok(());
    }
    for (i, question) in questions.iter().enumerate().take(4) {
        let said = question.example.prompt.last().map_or("", |message| &message.content);
        println!("question   {}", one_line(said));
        for (who, answers) in ["policy", "reference"].iter().zip(&answers) {
            println!("  {who:9} {:8.3}  {}", answers[i].reward, one_line(&answers[i].text));
        }
    }
    print_comparison(&found);
    Ok(())
}

/// What is asked: held-out sums, or a file's rows; of the data that the run learned from, the rows that it kept for validation.
fn load_eval_examples(args: &EvalArgs) -> Result<Vec<Example>> {
    let (source, columns) = args.data.open_source()?;
    let run = RunFolder::read_settings(Path::new(&args.finetuned.model))?;
    let same = run.filter(|run| run["data"] == args.data.data && source != SftSource::Arithmetic);
    let Some(run) = same else { return source.load_all(columns.as_ref()) };
    let (Some(share), Some(seed)) = (run["validation"].as_f64(), run["seed"].as_u64()) else {
        return source.load_all(columns.as_ref());
    };
    println!("asked is what the run kept for validation; the rest it has learned from");
    let split =
        source.load_dataset(columns.as_ref(), (1, DemonstrationStyle::Clean), share, seed)?;
    Ok(split.validation)
}
