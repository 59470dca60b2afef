//! `part_6 eval`: how well a model answers.

use anyhow::Result;
use serde_json::json;

use super::arguments::EvalArgs;
use crate::arithmetic::ProblemSet;
use crate::evaluation::GenerationEvalConfig;
use crate::source::test_examples;
use crate::{ChatTokenizer, Example, FinetunedModel, SftEvalMetrics, SftSource, evaluate};

pub(super) fn run(args: &EvalArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let (source, columns) = args.data.open_source()?;
    let examples = source.load_all(columns.as_ref())?;
    let FinetunedModel { model, chat_tokenizer: speech, .. } = args.finetuned.open(&device)?;
    let arithmetic = source == SftSource::Arithmetic;
    let extent = GenerationEvalConfig {
        batch_size: args.batch_size.get(),
        max_new_tokens: args.max_new_tokens.unwrap_or(args.data.default_max_new_tokens()),
    };
    let measure = |examples: &[Example], speech: &ChatTokenizer| -> Result<SftEvalMetrics> {
        Ok(evaluate(&model, examples, speech, extent)?.0)
    };
    let found = measure(&examples, &speech)?;
    let products = match arithmetic {
        true => Some(measure(&test_examples(ProblemSet::Products), &speech)?),
        false => None,
    };
    if args.json {
        let mut report = serde_json::to_value(found)?;
        if let Some(products) = products {
            report["products"] = json!({ "n": products.n, "exact_match": products.exact_match });
        }
        println!("{report}");
        return Ok(());
    }
    print_metrics(&found);
    if let Some(products) = products {
        println!("of {} products, apart: exact match {:.3}", products.n, products.exact_match);
    }
    Ok(())
}

/// The figures, in words.
fn print_metrics(found: &SftEvalMetrics) {
    let SftEvalMetrics { n, loss, perplexity, exact_match, relaxed_match: form_forgiven, .. } =
        *found;
    let SftEvalMetrics {
        token_f1, rouge_l, eos_rate, n_skipped: skipped, n_truncated: cut, ..
    } = *found;
    if skipped + cut > 0 {
        println!(
            "{skipped} prompts fill the context and were left out; of {cut} answers the loss sees only the beginning"
        );
    }
    println!("{n} questions: loss {loss:.4} nats per token, perplexity {perplexity:.3}");
    println!("exact match {exact_match:.3}, with the form forgiven {form_forgiven:.3}");
    println!("token F1 {token_f1:.3}, ROUGE-L {rouge_l:.3}, ended by itself {eos_rate:.3}");
}
