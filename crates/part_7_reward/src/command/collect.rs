//! `part_7 collect`: a model answers each question several times, and a person, or a rule, says which answer is better.

use anyhow::{Result, ensure};
use candle_core::Device;
use modern::sampler::{Sampler, SamplingStrategy};
use modern::{Checkpoint, FinishReason, GptModern, LoadMode};
use serde_json::Value;
use sft::arithmetic_questions::{DemonstrationStyle, demonstrations};
use sft::{ChatTokenizer, Example, SftSource, json_rows};
use tensor_core::Rng;
use tiny_gpt::Interrupt;
use tiny_gpt::command::as_usage_error;

use super::annotator;
use super::arguments::CollectArgs;
use crate::annotation_file::{AnnotationFile, Label};
use crate::checkpoint::locate_model;
use crate::{PreferenceColumns, PreferenceRule, model_folder};

pub(super) fn run(args: &CollectArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let examples = load_prompts(args)?;
    let (model, speech) = open_generator(args, &device)?;
    let mut collection = AnnotationFile::open(&args.out)?;
    let interrupt = Interrupt::listen()?;
    let sampler = Sampler::new(SamplingStrategy::new(args.temperature, None, None, None));
    let (n, out) = (examples.len(), args.out.display());
    let done = examples.iter().filter(|example| collection.is_annotated(&example.prompt)).count();
    if done > 0 {
        println!("{done} of the {n} questions were asked for {out} before; on to the others");
    }
    let mut cut = 0;
    'questions: for (number, example) in examples.iter().enumerate() {
        if interrupt.is_requested() {
            break;
        }
        let question = &example.prompt;
        if collection.is_annotated(question) {
            continue;
        }
        let prompts = vec![speech.encode_prompt(question)?; args.group_size.into()];
        let mut rng = Rng::new(args.compute.seed.wrapping_add(number as u64)); // its own, so that it is asked alike again
        let n_tokens = args.max_new_tokens.get();
        let drawn = speech.generate(&model, &prompts, sampler, n_tokens, &mut rng)?;
        cut += drawn.iter().filter(|answer| answer.finish_reason != FinishReason::Stop).count();
        let ended = drawn.iter().filter(|answer| answer.finish_reason == FinishReason::Stop);
        let responses = distinct(ended.map(|answer| answer.text.trim()));
        let (Some(&first), true) = (responses.first(), responses.len() > 1) else {
            collection.append_skipped(question, &responses)?;
            continue;
        };
        let mut best = first; // it meets the next one
        for &other in &responses[1..] {
            let pair = [best, other];
            let known = collection.label(question, pair);
            let verdict = match (known, args.rule) {
                (Some(known), _) => Some(known),
                (None, Some(rule)) => Some(label_by_rule(rule, pair, &example.completion)),
                (None, None) => {
                    let title = format!("question {} of {n}", number + 1);
                    annotator::ask_for_label(&title, question, pair, &interrupt)?
                }
            };
            let Some(verdict) = verdict else { break 'questions };
            if known.is_none() {
                collection.append_label(question, pair, verdict)?;
            }
            if verdict == Label::Preferred(1) {
                best = other;
            }
        }
    }
    if cut > 0 {
        println!(
            "{cut} answers did not end within --max-new-tokens {} and were left out",
            args.max_new_tokens
        );
    }
    println!("{} preferences in {out}", collection.n_preferences());
    Ok(())
}

/// The model that answers, and how it is asked.
fn open_generator(args: &CollectArgs, device: &Device) -> Result<(GptModern, ChatTokenizer)> {
    let (name, place) = (&args.model, locate_model(&args.model)?);
    ensure!(
        !model_folder::is_reward_model(&place),
        "{name} is a reward model, which answers nothing"
    );
    let mut checkpoint = Checkpoint::open(&place.to_string_lossy(), LoadMode::Inference, device)?;
    let speech = ChatTokenizer::from_checkpoint(&mut checkpoint, args.template)?;
    Ok((checkpoint.model, speech))
}

fn label_by_rule(rule: PreferenceRule, pair: [&str; 2], wanted: &str) -> Label {
    rule.preferred_index(pair, wanted).map_or(Label::NoPreference, Label::Preferred)
}

/// The questions: of the arithmetic task those to learn from, else all.
fn load_prompts(args: &CollectArgs) -> Result<Vec<Example>> {
    let (source, columns) = args.data.open_source()?;
    let n = args.prompts.get();
    let mut examples = match &source {
        SftSource::Arithmetic => demonstrations(n, DemonstrationStyle::Clean, args.compute.seed),
        SftSource::File(path) if columns.is_none() => {
            json_rows::read_parsed(path, parse_prompt_row)?
        }
        _ => source.load_all(columns.as_ref())?,
    };
    examples.truncate(n);
    let answered = examples.iter().all(|example| !example.completion.is_empty());
    as_usage_error(match args.rule == Some(PreferenceRule::Exact) && !answered {
        true => Err("--rule exact compares with right answers, which these data lack"),
        false => Ok(()),
    })?;
    Ok(examples)
}

/// What a row asks, and the answer if it holds one: a row to fine-tune on, a preference, or a prompt alone.
fn parse_prompt_row(row: &Value) -> Result<Example> {
    match sft::ExampleColumns::detect(row) {
        Ok(columns) => columns.parse_row(row),
        Err(_) => Ok(Example {
            prompt: PreferenceColumns::default().read_prompt(row)?,
            completion: String::new(),
        }),
    }
}

/// What differs, and is not empty, in order.
fn distinct<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut distinct: Vec<&str> = Vec::new();
    for text in texts {
        if !text.is_empty() && !distinct.contains(&text) {
            distinct.push(text);
        }
    }
    distinct
}
