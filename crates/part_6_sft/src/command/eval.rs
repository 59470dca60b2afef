//! `part_6 eval`: loss and accuracy of a model.

use anyhow::Result;
use datasets::Example;
use serde_json::json;

use super::arguments::EvalArgs;
use crate::arithmetic::ProblemSet;
use crate::evaluation::GenerationEvalConfig;
use crate::source::test_examples;
use crate::{ChatTokenizer, FinetunedModel, SftEvalMetrics, SftSource, evaluate};

pub(super) fn run(args: &EvalArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let (source, columns) = args.data.open_source()?;
    let examples = source.load_eval_examples(columns.as_ref())?;
    let FinetunedModel { model, chat_tokenizer, .. } = args.finetuned.open(&device)?;
    let eval_config = GenerationEvalConfig {
        batch_size: args.batch_size.get(),
        max_new_tokens: args.max_new_tokens.unwrap_or(args.data.default_max_new_tokens()),
    };
    let measure =
        |examples: &[Example], chat_tokenizer: &ChatTokenizer| -> Result<SftEvalMetrics> {
            Ok(evaluate(&model, examples, chat_tokenizer, eval_config)?.0)
        };
    let metrics = measure(&examples, &chat_tokenizer)?;
    let products = match source == SftSource::Arithmetic {
        true => Some(measure(&test_examples(ProblemSet::Products), &chat_tokenizer)?),
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
    let SftEvalMetrics { token_f1, rouge_l, eos_rate, n_skipped, n_truncated, .. } = *metrics;
    if n_skipped + n_truncated > 0 {
        println!(
            "{n_skipped} examples skipped (the prompt fills the context), \
             {n_truncated} expected completions truncated in the loss"
        );
    }
    println!("{n} examples: loss {loss:.4} nats per token, perplexity {perplexity:.3}");
    println!("exact match {exact_match:.3}, relaxed match {relaxed_match:.3}");
    println!("token F1 {token_f1:.3}, ROUGE-L {rouge_l:.3}, EOS rate {eos_rate:.3}");
}
