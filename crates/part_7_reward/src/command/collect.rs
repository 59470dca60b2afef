//! `part_7 collect`: samples several completions per prompt, and a person or a rule labels the
//! better one of each pair.

use anyhow::{Result, ensure};
use candle_core::Device;
use datasets::{Example, PreferenceColumns, json_rows};
use experiment::Interrupt;
use experiment::program::as_usage_error;
use model_io::LoadMode;
use modern::sampler::{Sampler, SamplingStrategy};
use modern::{Checkpoint, FinishReason, GptModern};
use serde_json::Value;
use sft::arithmetic_questions::{DemonstrationStyle, demonstrations};
use sft::{ChatTokenizer, SftSource};
use tensor_core::Rng;

use super::annotator;
use super::arguments::CollectArgs;
use crate::annotation_file::{AnnotationFile, Label};
use crate::checkpoint::locate_model;
use crate::{PreferenceRule, model_folder};

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
        println!("{n_done} of the {n} prompts are labeled in {out}; continuing with the others");
    }
    let mut n_truncated = 0;
    'prompts: for (number, example) in examples.iter().enumerate() {
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
        let (finished, truncated): (Vec<_>, Vec<_>) =
            sampled.iter().partition(|completion| completion.finish_reason == FinishReason::Stop);
        n_truncated += truncated.len();
        let completions = distinct(finished.iter().map(|completion| completion.text.trim()));
        let (Some(&first), true) = (completions.first(), completions.len() > 1) else {
            annotations.append_skipped(prompt, &completions)?;
            continue;
        };
        let mut best = first;
        for &challenger in &completions[1..] {
            let pair = [best, challenger];
            let known = annotations.label(prompt, pair);
            let title = format!("prompt {} of {n}", number + 1);
            let label = match known {
                Some(known) => Some(known),
                None => new_label(args, &title, example, pair, &interrupt)?,
            };
            let Some(label) = label else { break 'prompts };
            if known.is_none() {
                annotations.append_label(prompt, pair, label)?;
            }
            if label == Label::Preferred(1) {
                best = challenger;
            }
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

/// Label by `--rule`, or by the person at the terminal, who may end the session (`None`).
fn new_label(
    args: &CollectArgs,
    title: &str,
    example: &Example,
    pair: [&str; 2],
    interrupt: &Interrupt,
) -> Result<Option<Label>> {
    match args.rule {
        Some(rule) => Ok(Some(label_by_rule(rule, pair, &example.completion))),
        None => annotator::ask_for_label(title, &example.prompt, pair, interrupt),
    }
}

/// Language model that generates the completions, and its tokenizer.
fn open_generator(args: &CollectArgs, device: &Device) -> Result<(GptModern, ChatTokenizer)> {
    let (name, path) = (&args.model, locate_model(&args.model)?);
    ensure!(
        !model_folder::is_reward_model(&path),
        "{name} is a reward model and cannot generate text; --model expects a language model"
    );
    let mut checkpoint = Checkpoint::open(&path.to_string_lossy(), LoadMode::Inference, device)?;
    let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, args.template)?;
    Ok((checkpoint.model, chat_tokenizer))
}

fn label_by_rule(rule: PreferenceRule, pair: [&str; 2], expected: &str) -> Label {
    rule.preferred_index(pair, expected).map_or(Label::NoPreference, Label::Preferred)
}

/// Prompts to label: the training split of the arithmetic task, or all rows of a file.
fn load_prompts(args: &CollectArgs) -> Result<Vec<Example>> {
    let (source, columns) = args.data.open_source()?;
    let n = args.prompts.get();
    let mut examples = match &source {
        SftSource::Arithmetic => demonstrations(n, DemonstrationStyle::Clean, args.compute.seed),
        SftSource::File(path) if columns.is_none() => {
            json_rows::read_parsed(path, parse_prompt_row)?
        }
        _ => source.load_eval_examples(columns.as_ref())?,
    };
    examples.truncate(n);
    let has_answers = examples.iter().all(|example| !example.completion.is_empty());
    as_usage_error(match args.rule == Some(PreferenceRule::Exact) && !has_answers {
        true => Err("--rule exact needs data with right answers, which these rows lack"),
        false => Ok(()),
    })?;
    Ok(examples)
}

/// Prompt of a row, and its answer if it has one. The row may be an SFT example, a preference, or a
/// prompt alone.
fn parse_prompt_row(row: &Value) -> Result<Example> {
    match datasets::ExampleColumns::detect(row) {
        Ok(columns) => columns.parse_row(row),
        Err(_) => Ok(Example {
            prompt: PreferenceColumns::default().read_prompt(row)?,
            completion: String::new(),
        }),
    }
}

/// Distinct non-empty texts, in order of first occurrence.
fn distinct<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut distinct: Vec<&str> = Vec::new();
    for text in texts {
        if !text.is_empty() && !distinct.contains(&text) {
            distinct.push(text);
        }
    }
    distinct
}
