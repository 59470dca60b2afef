//! `part_8 eval`: a policy against its reference, if one is known, on held-out prompts.

use std::num::NonZeroUsize;

use anyhow::{Result, bail};
use candle_core::Device;
use clap::Args;
use experiment::flags::ComputeFlags;
use experiment::number::temperature;
use modern::SamplingStrategy;
use sft::flags::DataFlags;
use sft::model_flags::FinetunedFlags;
use sft::{ChatTokenizer, FinetunedModel, one_line};
use tensor_core::Rng;

use crate::completion_eval::{PpoEvalMetrics, compute_metrics, non_finite_reward_message};
use crate::flags::{PromptFlags, RewardFnFlags};
use crate::prompts::PromptExample;
use crate::reference::reference_of_finetuned;
use crate::reward_fn::NamedRewardFn;
use crate::{
    CompletionEvalConfig, PolicyComparison, ScoredCompletion, ScoringCounter, compare_to_reference,
};

#[derive(Args)]
#[command(args_override_self = true)]
pub(super) struct EvalArgs {
    #[command(flatten)]
    finetuned: FinetunedFlags,
    /// Reference model [default: the run's base model, or the model without its adapter; without
    /// one, nothing is compared]
    #[arg(long, value_name = "MODEL", help_heading = "Model")]
    reference: Option<String>,
    #[command(flatten)]
    data: DataFlags,
    /// Largest number of prompts
    #[arg(long, value_name = "N", default_value = "500", help_heading = "Data")]
    eval_examples: NonZeroUsize,
    #[command(flatten)]
    prompts: PromptFlags,
    #[command(flatten)]
    reward_fn: RewardFnFlags,
    /// Largest number of tokens per completion [default: 8 for arithmetic, else 64]
    #[arg(long, value_name = "N", help_heading = "Algorithm")]
    max_new_tokens: Option<NonZeroUsize>,
    /// Sampling temperature; 0: greedy decoding
    #[arg(
        long, value_name = "T", default_value_t = 0., value_parser = temperature,
        help_heading = "Algorithm"
    )]
    temperature: f64,
    /// Prompts per batch
    #[arg(long, value_name = "N", default_value = "32", help_heading = "Run")]
    batch_size: NonZeroUsize,
    #[command(flatten)]
    compute: ComputeFlags,
    /// Print the result as a JSON object on the last line
    #[arg(long, help_heading = "Run")]
    json: bool,
}

pub(super) fn run(mut args: EvalArgs) -> Result<()> {
    args.finetuned.template = args.prompts.chat_format(args.finetuned.template);
    evaluate(&args)
}

fn evaluate(args: &EvalArgs) -> Result<()> {
    args.reward_fn.check(&args.data.data)?;
    let device = args.compute.open_device()?;
    let source = args.reward_fn.open_prompts(&args.data)?;
    let mut examples = args.data.load_eval_examples(args.finetuned.trained_model(), &source)?;
    args.prompts.format(&mut examples)?;
    args.reward_fn.check_answers(&args.data.data, &examples)?;
    let finetuned = args.finetuned.open(&device)?;
    let reference =
        reference_of_finetuned(&args.finetuned, args.reference.as_deref(), &finetuned, &device)?;
    let FinetunedModel { model, chat_tokenizer, .. } = finetuned;
    let max_new_tokens =
        args.max_new_tokens.map_or(args.data.default_max_new_tokens(), NonZeroUsize::get);
    let reference_len = reference.as_ref().map(|reference| reference.config().context_len);
    let context_len = model.config().context_len.min(reference_len.unwrap_or(usize::MAX));
    let (mut prompts, n_dropped) =
        args.prompts.tokenize(examples, &chat_tokenizer, context_len, max_new_tokens)?;
    if n_dropped > 0 {
        println!("{n_dropped} prompts were dropped because they are too long");
    }
    prompts.truncate(args.eval_examples.get());
    let (batch_size, mut rng) = (args.batch_size.get(), Rng::new(args.compute.seed));
    let mut reward_fn = open_reward_fn(args, &chat_tokenizer, &device)?;
    let eval_config =
        CompletionEvalConfig { chat_tokenizer: &chat_tokenizer, max_new_tokens, batch_size };
    let strategy = SamplingStrategy::new(args.temperature, None, None, None);
    let (counter, reward_fn) = (reward_fn.counter, &mut *reward_fn.reward_fn);
    let Some(reference) = reference else {
        let completions =
            eval_config.generate_and_score(&model, &prompts, strategy, reward_fn, &mut rng)?;
        if let Some(bad) = non_finite_reward_message(&completions) {
            bail!("{bad}");
        }
        let metrics = compute_metrics(&prompts, &completions);
        warn_of_counts(&counter);
        if args.json {
            println!("{}", serde_json::to_string(&metrics)?);
            return Ok(());
        }
        print_completions(&prompts, &[("policy", &completions)]);
        print_metrics(&metrics);
        return Ok(());
    };
    let (comparison, [ours, theirs]) = compare_to_reference(
        &model,
        &reference,
        &prompts,
        eval_config,
        strategy,
        reward_fn,
        &mut rng,
    )?;
    warn_of_counts(&counter);
    if args.json {
        println!("{}", serde_json::to_string(&comparison)?);
        return Ok(());
    }
    print_completions(&prompts, &[("policy", &ours), ("reference", &theirs)]);
    print_comparison(&comparison);
    Ok(())
}

/// Reward function for completions of a policy with `chat_tokenizer`.
fn open_reward_fn(
    args: &EvalArgs,
    chat_tokenizer: &ChatTokenizer,
    device: &Device,
) -> Result<NamedRewardFn> {
    let variables = args.finetuned.chat_template.variables(&args.finetuned.model)?;
    let (data, batch_size) = (&args.data.data, args.batch_size.get());
    args.reward_fn.open_reward_fn(data, chat_tokenizer, batch_size, &variables, device)
}

/// Warns of conversations that could not be scored as a whole.
fn warn_of_counts(counter: &ScoringCounter) {
    counter.counts().messages().iter().for_each(|message| eprintln!("warning: {message}"));
}

/// Prints the first prompts with the completions of each model.
fn print_completions(prompts: &[PromptExample], models: &[(&str, &[ScoredCompletion])]) {
    for (i, prompt) in prompts.iter().enumerate().take(4) {
        let message = prompt.example.prompt.last().map_or("", |message| &message.content);
        println!("prompt     {}", one_line(message));
        for (model, completions) in models {
            let completion = &completions[i];
            println!("  {model:9} {:8.3}  {}", completion.reward, one_line(&completion.text));
        }
    }
}

/// Prints the metrics of a policy without a reference.
fn print_metrics(metrics: &PpoEvalMetrics) {
    let PpoEvalMetrics { n, reward_mean, length_mean, eos_rate, .. } = *metrics;
    println!("{n} prompts: mean reward {reward_mean:.3}");
    println!("length {length_mean:.1} tokens, eos {eos_rate:.3}");
    if let (Some(exact), Some(relaxed)) = (metrics.exact_match, metrics.relaxed_match) {
        println!("exact match {exact:.3}, relaxed match {relaxed:.3}");
    }
    println!("no reference model is known, so nothing is compared: name one with --reference");
}

/// Prints a comparison.
pub(super) fn print_comparison(comparison: &PolicyComparison) {
    let PolicyComparison { n, reward_mean, reward_ref_mean, win_rate, .. } = *comparison;
    let PolicyComparison { win_rate_low, win_rate_high, length_mean, eos_rate, .. } = *comparison;
    let PolicyComparison { kl_per_completion: kl, kl_length_mean, .. } = *comparison;
    println!("{n} prompts: mean reward {reward_mean:.3}, of the reference {reward_ref_mean:.3}");
    println!(
        "win rate {win_rate:.3}, 95 % interval {win_rate_low:.3} to {win_rate_high:.3} (ties \
         count half)"
    );
    println!(
        "KL to the reference {kl:.3} nats per completion sampled at temperature 1, of \
         {kl_length_mean:.1} tokens"
    );
    println!("length {length_mean:.1} tokens, eos {eos_rate:.3}");
    if let (Some(exact), Some(relaxed)) = (comparison.exact_match, comparison.relaxed_match) {
        let exact_ref = comparison.exact_match_ref.unwrap_or_default();
        let relaxed_ref = comparison.relaxed_match_ref.unwrap_or_default();
        println!("exact match {exact:.3}, relaxed match {relaxed:.3}");
        println!("of the reference {exact_ref:.3}, relaxed {relaxed_ref:.3}");
    }
}
