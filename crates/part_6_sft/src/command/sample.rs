//! `part_6 sample`: completions of a fine-tuned model and of its base model to the same prompts.

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use clap::Args;
use datasets::{Example, ExampleColumns};
use experiment::flags::ComputeFlags;
use experiment::terminal::printable;
use model_io::{ChatMessage, LoadMode};
use modern::flags::SamplerFlags;
use modern::{Checkpoint, GptModern, Sampler};
use tensor_core::Rng;

use crate::chat_tokenizer::CompletionText;
use crate::flags::DataFlags;
use crate::model_flags::FinetunedFlags;
use crate::{ChatTokenizer, FinetunedModel, one_line};

/// Completions generated at a time.
const BATCH_SIZE: usize = 16;

#[derive(Args)]
#[command(args_override_self = true)]
#[command(mut_arg("temperature", |arg| arg.help("Sampling temperature [default: 0, greedy]")))]
#[command(mut_arg("top_k", |arg| arg.help("Sample from the K most likely tokens, 0 for all \
    [default: 50]")))]
#[command(mut_arg("top_p", |arg| arg.help("Nucleus sampling: the most likely tokens of total \
    probability P [default: 1]")))]
#[command(mut_arg("min_p", |arg| arg.help("Minimum probability relative to the most likely token \
    [default: 0]")))]
#[command(mut_arg("repetition_penalty", |arg| arg.help("Repetition penalty of tokens that \
    occurred, 1 for none [default: 1]")))]
pub(super) struct SampleArgs {
    #[command(flatten)]
    finetuned: FinetunedFlags,
    /// Base model to compare with [default: the model without its adapter, or the run's base model]
    #[arg(long, value_name = "MODEL")]
    base: Option<String>,
    /// Prompt, may be repeated [default: the first --n prompts of --data]
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    #[command(flatten)]
    data: DataFlags,
    /// Number of prompts from --data
    #[arg(long, value_name = "N", default_value_t = 6)]
    n: usize,
    /// Maximum completion length in tokens
    #[arg(long, value_name = "N", default_value_t = 64)]
    max_new_tokens: usize,
    #[command(flatten)]
    sampler: SamplerFlags,
    #[command(flatten)]
    compute: ComputeFlags,
}

pub(super) fn run(args: &SampleArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let examples: Vec<Example> = match args.prompt.is_empty() {
        true => {
            let data = args.data.open_source()?;
            let data = data.with_default_columns(ExampleColumns::AnyPrompt);
            let all = args.data.load_eval_examples(args.finetuned.trained_model(), &data)?;
            all.into_iter().take(args.n).collect()
        }
        false => args.prompt.iter().map(|prompt| Example::new(prompt, "")).collect(),
    };
    let finetuned = args.finetuned.open(&device)?;
    let base_model = match open_base_model(args, &finetuned, &device) {
        Err(error) if args.base.is_none() => {
            eprintln!(
                "warning: base model not found ({}): showing the fine-tuned model only; \
                 use --base to name it",
                printable(&format!("{error:#}"))
            );
            None
        }
        base_model => Some(base_model?),
    };
    let FinetunedModel { model, chat_tokenizer, .. } = finetuned;
    let prompts: Vec<Vec<u32>> = examples
        .iter()
        .map(|example| chat_tokenizer.encode_prompt(&example.prompt))
        .collect::<Result<_>>()?;
    let completions = complete(args, &chat_tokenizer, &model, &prompts)?;
    let base_completions =
        base_model.map(|model| complete(args, &chat_tokenizer, &model, &prompts)).transpose()?;
    for (i, example) in examples.iter().enumerate() {
        let prompt = example.prompt.last().map_or("", |ChatMessage { content, .. }| content);
        println!("prompt      {}", one_line(prompt));
        if let Some(base_completions) = &base_completions {
            println!("  base      {}", one_line(&base_completions[i].text));
        }
        println!("  tuned     {}", one_line(&completions[i].text));
        let reply = example.completion_message();
        if !reply.content.is_empty() || reply.calls_tool() {
            let expected = chat_tokenizer.reply_text(&example.prompt, &reply)?;
            println!("  expected  {}", one_line(&expected));
        }
    }
    Ok(())
}

/// Completions of `prompts` by `model`: greedy, or with the sampling flags. Both models begin with
/// the same seed.
fn complete(
    args: &SampleArgs,
    chat_tokenizer: &ChatTokenizer,
    model: &GptModern,
    prompts: &[Vec<u32>],
) -> Result<Vec<CompletionText>> {
    let sampler: Sampler = args.sampler.chat_sampler(None);
    let (n, mut rng) = (args.max_new_tokens, Rng::new(args.compute.seed));
    let mut completions = Vec::with_capacity(prompts.len());
    for batch in prompts.chunks(BATCH_SIZE) {
        completions.extend(chat_tokenizer.generate(model, batch, sampler, n, &mut rng)?);
    }
    Ok(completions)
}

/// Base model to compare with: `--base`, else the model without its adapter, else the one that its
/// run started from.
fn open_base_model(
    args: &SampleArgs,
    finetuned: &FinetunedModel,
    device: &Device,
) -> Result<GptModern> {
    if let (None, Some(model)) = (&args.base, &finetuned.without_adapter) {
        return Ok(model.clone());
    }
    let base = args.finetuned.base_model(args.base.as_deref(), finetuned)?;
    let base = base.context("the model's files do not name it")?;
    let Checkpoint { model, tokenizer, .. } = Checkpoint::open(&base, LoadMode::Inference, device)?;
    ensure!(
        tokenizer.has_same_vocab(&finetuned.chat_tokenizer.tokenizer),
        "{base} and the fine-tuned model have different vocabularies"
    );
    Ok(model)
}
