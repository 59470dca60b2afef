//! `part_7 collect`: a model answers each question several times, and a person, or a rule, says which answer is better.

use anyhow::{Result, ensure};
use candle_core::Device;
use modern::sampler::{Choice, Sampler};
use modern::{Checkpoint, End, GptModern, Purpose};
use serde_json::Value;
use sft::questions::{Demos, demonstrations};
use sft::{Example, Source, Speech, rows};
use tensor_core::Rng;
use tiny_gpt::Interrupt;
use tiny_gpt::command::usage;

use super::arguments::CollectArgs;
use super::person;
use crate::checkpoint::place_of;
use crate::collection::{Collection, Verdict};
use crate::{Columns, Rule, model_folder};

pub(super) fn run(args: &CollectArgs) -> Result<()> {
    let device = args.compute.open()?;
    let examples = examples(args)?;
    let (model, speech) = opened(args, &device)?;
    let mut collection = Collection::open(&args.out)?;
    let interrupt = Interrupt::catch()?;
    let sampler = Sampler::new(Choice::at(args.temperature, None, None, None));
    let (n, out) = (examples.len(), args.out.display());
    let done = examples.iter().filter(|example| collection.is_done(&example.prompt)).count();
    if done > 0 {
        println!("{done} of the {n} questions were asked for {out} before; on to the others");
    }
    let mut cut = 0;
    'questions: for (number, example) in examples.iter().enumerate() {
        if interrupt.requested() {
            break;
        }
        let question = &example.prompt;
        if collection.is_done(question) {
            continue;
        }
        let prompts = vec![speech.prompt(question)?; args.samples.into()];
        let mut rng = Rng::new(args.compute.seed.wrapping_add(number as u64)); // its own, so that it is asked alike again
        let n_tokens = args.max_new_tokens.get();
        let drawn = speech.drawn(&model, &prompts, sampler, n_tokens, &mut rng)?;
        cut += drawn.iter().filter(|answer| answer.end != End::Stop).count();
        let ended = drawn.iter().filter(|answer| answer.end == End::Stop);
        let responses = distinct(ended.map(|answer| answer.text.trim()));
        let (Some(&first), true) = (responses.first(), responses.len() > 1) else {
            collection.skip(question, &responses)?;
            continue;
        };
        let mut best = first; // it meets the next one
        for &other in &responses[1..] {
            let pair = [best, other];
            let known = collection.verdict(question, pair);
            let verdict = match (known, args.rule) {
                (Some(known), _) => Some(known),
                (None, Some(rule)) => Some(by_rule(rule, pair, &example.response)),
                (None, None) => {
                    let title = format!("question {} of {n}", number + 1);
                    person::ask(&title, question, pair, &interrupt)?
                }
            };
            let Some(verdict) = verdict else { break 'questions };
            if known.is_none() {
                collection.add(question, pair, verdict)?;
            }
            if verdict == Verdict::Better(1) {
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
    println!("{} preferences in {out}", collection.decided());
    Ok(())
}

/// The model that answers, and how it is asked.
fn opened(args: &CollectArgs, device: &Device) -> Result<(GptModern, Speech)> {
    let (name, place) = (&args.model, place_of(&args.model)?);
    ensure!(!model_folder::is_one(&place), "{name} is a reward model, which answers nothing");
    let mut checkpoint = Checkpoint::open(&place.to_string_lossy(), Purpose::Inference, device)?;
    let speech = Speech::of(&mut checkpoint, args.template)?;
    Ok((checkpoint.model, speech))
}

fn by_rule(rule: Rule, pair: [&str; 2], wanted: &str) -> Verdict {
    rule.better(pair, wanted).map_or(Verdict::Neither, Verdict::Better)
}

/// The questions: of the arithmetic task those to learn from, else all.
fn examples(args: &CollectArgs) -> Result<Vec<Example>> {
    let (source, columns) = args.data.open()?;
    let n = args.questions.get();
    let mut examples = match &source {
        Source::Arithmetic => demonstrations(n, Demos::Clean, args.compute.seed),
        Source::File(path) if columns.is_none() => rows::read_as(path, question)?,
        _ => source.all(columns.as_ref())?,
    };
    examples.truncate(n);
    let answered = examples.iter().all(|example| !example.response.is_empty());
    usage(match args.rule == Some(Rule::Exact) && !answered {
        true => Err("--rule exact compares with right answers, which these data lack"),
        false => Ok(()),
    })?;
    Ok(examples)
}

/// What a row asks, and the answer if it holds one: a row to fine-tune on, a preference, or a prompt alone.
fn question(row: &Value) -> Result<Example> {
    match sft::Columns::of(row) {
        Ok(columns) => columns.example(row),
        Err(_) => {
            Ok(Example { prompt: Columns::default().question(row)?, response: String::new() })
        }
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
