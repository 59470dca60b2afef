//! The tools of part 6: fine-tune a model, ask it, measure it. Without a subcommand: the demo.

mod arguments;
mod demo;
mod report;
mod start;
mod train_command;

use std::process::ExitCode;

use anyhow::Result;
use modern::{Checkpoint, Message, Purpose};
use scaling::settings::expanded;
use serde_json::json;
use sft::arithmetic::Set;
use sft::evaluation::Extent;
use sft::source::held_out;
use sft::{Evaluation, Example, Source, Speech, Tuned, evaluate};
use tiny_gpt::command;

use arguments::{Cli, Command, DEFAULT_OUT, EvalArgs, SampleArgs};

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

fn main() -> ExitCode {
    let args = expanded(std::env::args_os(), DEFAULT_OUT);
    command::run_with(args, |cli: Cli| match cli.command {
        None => demo::run(&cli.demo),
        Some(Command::Train(args)) => train_command::run(&args),
        Some(Command::Sample(args)) => run_sample(&args),
        Some(Command::Eval(args)) => run_eval(&args),
    })
}

fn run_sample(args: &SampleArgs) -> Result<()> {
    let device = args.compute.open()?;
    let (source, columns) = args.data.open()?;
    let examples: Vec<Example> = match args.prompt.is_empty() {
        true => source.all(columns.as_ref())?.into_iter().take(args.n).collect(),
        false => args.prompt.iter().map(|prompt| Example::new(prompt, "")).collect(),
    };
    let Tuned { model, speech, without, base } = args.tuned.open(&device)?;
    let base = args.base.clone().or_else(|| base.map(|path| path.to_string_lossy().into_owned()));
    let before = match (&args.base, without) {
        (None, Some(model)) => Some(model),
        _ => match &base {
            Some(base) => Some(Checkpoint::open(base, Purpose::Inference, &device)?.model),
            None => None,
        },
    };
    let prompts: Vec<Vec<u32>> =
        examples.iter().map(|example| speech.prompt(&example.prompt)).collect::<Result<_>>()?;
    let n = args.max_new_tokens;
    let tuned = speech.answers(&model, &prompts, n, 16)?;
    let before = before.map(|model| speech.answers(&model, &prompts, n, 16)).transpose()?;
    for (i, Example { prompt, response }) in examples.iter().enumerate() {
        let question = prompt.last().map_or("", |Message { content, .. }| content);
        println!("question  {}", one_line(question));
        if let Some(before) = &before {
            println!("  base    {}", one_line(&before[i].text));
        }
        println!("  tuned   {}", one_line(&tuned[i].text));
        if !response.is_empty() {
            println!("  wanted  {}", one_line(response));
        }
    }
    Ok(())
}

/// A text on one line.
fn one_line(text: &str) -> String {
    text.trim().replace('\n', " ⏎ ")
}

fn run_eval(args: &EvalArgs) -> Result<()> {
    let device = args.compute.open()?;
    let (source, columns) = args.data.open()?;
    let examples = source.all(columns.as_ref())?;
    let Tuned { model, speech, .. } = args.tuned.open(&device)?;
    let arithmetic = source == Source::Arithmetic;
    let usual = if arithmetic { 8 } else { 64 };
    let extent = Extent {
        batch_size: args.batch_size.get(),
        max_new_tokens: args.max_new_tokens.unwrap_or(usual),
    };
    let measure = |examples: &[Example], speech: &Speech| -> Result<Evaluation> {
        Ok(evaluate(&model, examples, speech, extent)?.0)
    };
    let found = measure(&examples, &speech)?;
    let products = match arithmetic {
        true => Some(measure(&held_out(Set::Products), &speech)?),
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
    tell(&found);
    if let Some(products) = products {
        println!("of {} products, apart: exact match {:.3}", products.n, products.exact_match);
    }
    Ok(())
}

/// The figures, in words.
fn tell(found: &Evaluation) {
    let Evaluation { n, loss, perplexity, exact_match, form_forgiven, .. } = *found;
    let Evaluation { token_f1, rouge_l, eos_rate, skipped, cut, .. } = *found;
    if skipped + cut > 0 {
        println!(
            "{skipped} prompts fill the context and were left out; of {cut} answers the loss sees only the beginning"
        );
    }
    println!("{n} questions: loss {loss:.4} nats per token, perplexity {perplexity:.3}");
    println!("exact match {exact_match:.3}, with the form forgiven {form_forgiven:.3}");
    println!("token F1 {token_f1:.3}, ROUGE-L {rouge_l:.3}, ended by itself {eos_rate:.3}");
}
