//! `part_6 eval`: loss and accuracy of a model.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use datasets::arithmetic::ProblemSet;
use datasets::arithmetic_questions::test_examples;
use experiment::flags::ComputeFlags;
use serde_json::json;

use crate::evaluation::GenerationEvalConfig;
use crate::flags::DataFlags;
use crate::model_flags::FinetunedFlags;
use crate::{FinetunedModel, SftEvalMetrics, SftSource, evaluate};

#[derive(Args)]
#[command(args_override_self = true)]
pub(super) struct EvalArgs {
    #[command(flatten)]
    finetuned: FinetunedFlags,
    #[command(flatten)]
    data: DataFlags,
    /// Examples per batch
    #[arg(long, value_name = "N", default_value = "32")]
    batch_size: NonZeroUsize,
    /// Maximum completion length in tokens [default: 8 for arithmetic, else 64]
    #[arg(long, value_name = "N")]
    max_new_tokens: Option<usize>,
    /// Maximum length of an example in tokens; longer ones are truncated [default: the context]
    #[arg(long, visible_alias = "max-seq-length", value_name = "T")]
    max_length: Option<NonZeroUsize>,
    #[command(flatten)]
    compute: ComputeFlags,
    /// Print the metrics as a JSON object on the last line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &EvalArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let data = args.data.open_source()?;
    let examples = args.data.load_eval_examples(args.finetuned.trained_model(), &data)?;
    let FinetunedModel { model, chat_tokenizer, .. } = args.finetuned.open(&device)?;
    let eval_config = GenerationEvalConfig {
        batch_size: args.batch_size.get(),
        max_new_tokens: args.max_new_tokens.unwrap_or(args.data.default_max_new_tokens()),
        max_length: args.max_length.map(NonZeroUsize::get),
    };
    let (metrics, _) = evaluate(&model, &examples, &chat_tokenizer, eval_config)?;
    let products = match data.source == SftSource::Arithmetic {
        true => {
            let examples = test_examples(ProblemSet::Products);
            Some(evaluate(&model, &examples, &chat_tokenizer, eval_config)?.0)
        }
        false => None,
    };
    if args.json {
        let mut report = serde_json::to_value(metrics)?;
        if let Some(products) = products {
            report["products"] = json!({ "n": products.n, "exact_match": products.exact_match });
        }
        println!("{report}");
        return Ok(());
    }
    print_metrics(&metrics);
    if let Some(products) = products {
        println!(
            "{} products, reported separately: exact match {:.3}",
            products.n, products.exact_match
        );
    }
    Ok(())
}

/// Prints the metrics in words.
fn print_metrics(metrics: &SftEvalMetrics) {
    let SftEvalMetrics { n, loss, perplexity, exact_match, relaxed_match, .. } = *metrics;
    let SftEvalMetrics { rouge_1, rouge_2, rouge_l, eos_rate, .. } = *metrics;
    let SftEvalMetrics { n_skipped, n_truncated, .. } = *metrics;
    if n_skipped + n_truncated > 0 {
        println!(
            "{n_skipped} examples skipped (the prompt fills the context), \
             {n_truncated} expected completions truncated in the loss"
        );
    }
    println!("{n} examples: loss {loss:.4} nats per token, perplexity {perplexity:.3}");
    if exact_match.is_nan() {
        return; // texts have no prompt to complete
    }
    println!("exact match {exact_match:.3}, relaxed match {relaxed_match:.3}");
    println!(
        "ROUGE-1 (token F1) {rouge_1:.3}, ROUGE-2 {rouge_2:.3}, ROUGE-L {rouge_l:.3}, EOS rate \
         {eos_rate:.3}"
    );
}
