//! `part_8 eval`: a policy beside its reference, on questions that neither learned from.

use anyhow::{Context, Result};
use modern::Choice;
use sft::Tuned;
use tensor_core::Rng;

use super::arguments::EvalArgs;
use super::report::tell;
use super::train::usual_length;
use crate::{Asking, compare, prompts};

pub(super) fn run(args: &EvalArgs) -> Result<()> {
    let device = args.compute.open()?;
    let (source, columns) = args.data.open()?;
    let examples = source.all(columns.as_ref())?;
    let Tuned { model, speech, without, base } = args.tuned.open(&device)?;
    let reference = args.tuned.reference(args.reference.as_deref(), without, base, &device)?;
    let reference = reference.context("--reference: the model to compare with is not known")?;
    let max_new_tokens =
        args.max_new_tokens.map_or(usual_length(&args.data.data), std::num::NonZeroUsize::get);
    let context = model.config().context.min(reference.config().context);
    let (mut questions, left_out) = prompts::questions(examples, &speech, context, max_new_tokens)?;
    if left_out > 0 {
        println!(
            "{left_out} questions were left out, as their prompt leaves no room for an answer"
        );
    }
    questions.truncate(args.eval_examples.get());
    let batch_size = args.batch_size.get();
    let mut scorer = args.scorer.open(&args.data.data, &speech, batch_size, &device)?;
    let asking = Asking { speech: &speech, max_new_tokens, batch_size };
    let choice = Choice::at(args.temperature, None, None, None);
    let mut rng = Rng::new(args.compute.seed);
    let both = [&model, &reference];
    let (found, answers) = compare(both, &questions, asking, choice, &mut *scorer, &mut rng)?;
    if args.json {
        println!("{}", serde_json::to_string(&found)?);
        return Ok(());
    }
    for (i, question) in questions.iter().enumerate().take(4) {
        let said = question.example.prompt.last().map_or("", |message| &message.content);
        println!("question   {}", one_line(said));
        for (who, answers) in ["policy", "reference"].iter().zip(&answers) {
            println!("  {who:9} {:8.3}  {}", answers[i].score, one_line(&answers[i].text));
        }
    }
    tell(&found);
    Ok(())
}

/// A text on one line.
fn one_line(text: &str) -> String {
    text.trim().replace('\n', " ⏎ ")
}
