//! `part_7 collect`: samples several completions per prompt, and a person or a rule labels the
//! better one of each pair.

mod question;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use candle_core::Device;
use clap::{Args, value_parser};
use datasets::arithmetic_questions::{DemonstrationStyle, demonstrations};
use datasets::{Example, ExampleColumns};
use experiment::Interrupt;
use experiment::flags::ComputeFlags;
use experiment::number::positive;
use experiment::program::ensure_usage;
use model_io::{LoadMode, locate_adapter};
use modern::flags::ChatTemplateFlags;
use modern::sampler::{Sampler, SamplingStrategy};
use modern::{Checkpoint, FinishReason, GptModern};
use question::{PairAnswer, Scale, ask_about_pair};
use sft::chat_tokenizer::CompletionText;
use sft::flags::DataFlags;
use sft::{ChatFormat, ChatTokenizer, SftSource};
use tensor_core::Rng;

use crate::annotation_file::{AnnotationFile, Label, LabelDetails};
use crate::checkpoint::locate_model;
use crate::{PreferenceRule, model_folder};

#[derive(Args)]
pub(super) struct CollectArgs {
    /// Language model: a folder, a run's folder, a .gguf file, a llama2.c .bin, or Hub owner/name
    #[arg(long, visible_alias = "model-name-or-path", value_name = "MODEL")]
    model: String,
    /// LoRA adapter of --model: a folder in the layout of peft, or owner/name on the Hub
    #[arg(long, value_name = "ADAPTER")]
    adapter: Option<String>,
    /// Source of the prompts
    #[command(flatten)]
    data: DataFlags,
    /// Maximum number of prompts
    #[arg(long, alias = "questions", value_name = "N", default_value = "100")]
    prompts: NonZeroUsize,
    /// Completions per prompt, 2 to 64; the better one of a pair is compared with the next
    #[arg(
        long, visible_alias = "num-generations", alias = "samples", value_name = "N",
        default_value = "2", value_parser = value_parser!(u8).range(2..=64)
    )]
    group_size: u8,
    /// Label by this rule [default: ask on the terminal]
    #[arg(long, value_enum)]
    rule: Option<PreferenceRule>,
    /// Scale on which a person compares two completions
    #[arg(long, value_enum, default_value_t, conflicts_with = "rule")]
    scale: Scale,
    /// Criteria on which a person compares them, too, by five steps: accuracy,engagement
    #[arg(long, value_name = "NAMES", value_delimiter = ',', conflicts_with = "rule")]
    criteria: Vec<String>,
    /// Output file, one row per label; an existing file is appended to
    #[arg(
        long,
        visible_alias = "output-dir",
        value_name = "FILE",
        default_value = "runs/preferences.jsonl"
    )]
    out: PathBuf,
    /// Chat template [default: the model's own, else instruction]
    #[arg(long, value_enum)]
    template: Option<ChatFormat>,
    #[command(flatten)]
    chat_template: ChatTemplateFlags,
    /// Sampling temperature
    #[arg(long, value_name = "T", default_value_t = 1., value_parser = positive)]
    temperature: f64,
    /// Maximum completion length in tokens; truncated completions are discarded
    #[arg(long, value_name = "N", default_value = "64")]
    max_new_tokens: NonZeroUsize,
    #[command(flatten)]
    compute: ComputeFlags,
}

pub(super) fn run(args: &CollectArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let examples = load_prompts(args)?;
    let (model, chat_tokenizer) = open_generator(args, &device)?;
    let mut annotations = AnnotationFile::open(&args.out)?;
    let interrupt = Interrupt::listen()?;
    let sampler = Sampler::new(SamplingStrategy::new(args.temperature, None, None, None));
    let (n, out) = (examples.len(), args.out.display());
    let is_done = |example: &&Example| annotations.is_annotated(&example.prompt);
    let n_done = examples.iter().filter(is_done).count();
    if n_done > 0 {
        println!("{n_done} of the {n} prompts are done in {out}; continuing with the others");
    }
    let mut n_truncated = 0;
    for (number, example) in examples.iter().enumerate() {
        if interrupt.is_requested() {
            break;
        }
        let prompt = &example.prompt;
        if annotations.is_annotated(prompt) {
            continue;
        }
        let prompts = vec![chat_tokenizer.encode_prompt(prompt)?; args.group_size.into()];
        // A seed per prompt: a resumed run samples the same completions again.
        let mut rng = Rng::new(args.compute.seed.wrapping_add(number as u64));
        let max_new_tokens = args.max_new_tokens.get();
        let sampled =
            chat_tokenizer.generate(&model, &prompts, sampler, max_new_tokens, &mut rng)?;
        let completions = distinct_finished(&sampled);
        let is_truncated =
            |completion: &&CompletionText| completion.finish_reason != FinishReason::Stop;
        let n_truncated_here = sampled.iter().filter(is_truncated).count();
        n_truncated += n_truncated_here;
        if completions.len() < 2 {
            // With longer completions, a later session may find a pair.
            if n_truncated_here == 0 {
                annotations.append_skipped(prompt, &completions)?;
            }
            continue;
        }
        let title = format!("prompt {} of {n}", number + 1);
        if !label_pairs(args, &title, example, &completions, &mut annotations, &interrupt)? {
            break;
        }
    }
    if n_truncated > 0 {
        println!(
            "{n_truncated} completions were truncated at --max-new-tokens {} and discarded",
            args.max_new_tokens
        );
    }
    println!("{} preferences in {out}", annotations.n_preferences());
    Ok(())
}

/// Labels each of the `completions` and the best one before it, by `--rule` or by the person at the
/// terminal. Returns false if the person ends the session.
fn label_pairs(
    args: &CollectArgs,
    title: &str,
    Example { prompt, completion: expected, .. }: &Example,
    completions: &[&str],
    annotations: &mut AnnotationFile,
    interrupt: &Interrupt,
) -> Result<bool> {
    let mut best = completions[0];
    for &challenger in &completions[1..] {
        let pair = [best, challenger];
        let known = annotations.label(prompt, pair);
        let label = match (known, args.rule) {
            (Some(label), _) => label,
            (None, Some(rule)) => {
                let preferred = rule.preferred_index(pair, expected);
                let label = preferred.map_or(Label::NoPreference, Label::Preferred);
                annotations.append_label(prompt, pair, label, LabelDetails::default())?;
                label
            }
            (None, None) => {
                let answer =
                    ask_about_pair(args.scale, &args.criteria, title, prompt, pair, interrupt)?;
                let Some(PairAnswer { label, details }) = answer else { return Ok(false) };
                annotations.append_label(prompt, pair, label, details)?;
                label
            }
        };
        if label == Label::Preferred(1) {
            best = challenger;
        }
    }
    Ok(true)
}

/// Language model that generates the completions, and its tokenizer.
fn open_generator(args: &CollectArgs, device: &Device) -> Result<(GptModern, ChatTokenizer)> {
    let (name, path) = (&args.model, locate_model(&args.model)?);
    ensure!(
        !model_folder::is_reward_model(&path),
        "{name} is a reward model and cannot generate text; --model expects a language model"
    );
    let (path, adapter) = (path.to_string_lossy(), args.adapter.as_deref());
    let checkpoint = match adapter.map(locate_adapter).transpose()? {
        Some(adapter) => {
            let mode = LoadMode::DequantizedInference;
            Checkpoint::open_with_adapter(&path, &adapter, mode, device)?
        }
        None => Checkpoint::open(&path, LoadMode::Inference, device)?,
    };
    let mut checkpoint = checkpoint.with_chat_variables(&args.chat_template.variables(name)?);
    let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, args.template)?;
    Ok((checkpoint.model, chat_tokenizer))
}

/// Prompts to label: the training split of the arithmetic task, or all rows of a file.
fn load_prompts(args: &CollectArgs) -> Result<Vec<Example>> {
    let data = args.data.open_source()?.with_default_columns(ExampleColumns::AnyPrompt);
    let n = args.prompts.get();
    let mut examples = match &data.source {
        SftSource::Arithmetic => demonstrations(n, DemonstrationStyle::Clean, args.compute.seed),
        source => source.load_eval_examples(data.columns.as_ref())?,
    };
    examples.truncate(n);
    let has_answers = examples.iter().all(|example| !example.completion.is_empty());
    ensure_usage(
        has_answers || args.rule != Some(PreferenceRule::Exact),
        "--rule exact needs data with right answers, which these rows lack",
    )?;
    Ok(examples)
}

/// Distinct texts, which are not blank, of the completions that were not truncated, in order of
/// first occurrence.
fn distinct_finished(completions: &[CompletionText]) -> Vec<&str> {
    let mut distinct: Vec<&str> = Vec::new();
    for completion in
        completions.iter().filter(|completion| completion.finish_reason == FinishReason::Stop)
    {
        let text = completion.text.as_str();
        if !text.trim().is_empty() && !distinct.iter().any(|other| other.trim() == text.trim()) {
            distinct.push(text);
        }
    }
    distinct
}
