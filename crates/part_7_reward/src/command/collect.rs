//! `part_7 collect`: a model answers each question several times, and a person, or a rule, says which answer is better.

use std::io::{BufRead, Write, stdin, stdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use modern::sampler::{Choice, Sampler};
use modern::{Checkpoint, Message, Purpose};
use sft::questions::{Demos, demonstrations};
use sft::tuned::model_in;
use sft::{Example, Source, Speech};
use tensor_core::Rng;
use tiny_gpt::Interrupt;

use super::arguments::CollectArgs;
use crate::collection::Collection;
use crate::{Preference, Rule};

/// What was decided about a pair.
enum Decision {
    /// 0 or 1.
    Better(usize),
    Neither,
    /// That is enough.
    End,
}

/// Who decides.
enum Judge {
    Rule(Rule),
    Person,
}

pub(super) fn run(args: &CollectArgs) -> Result<()> {
    let device = args.compute.open()?;
    let examples = examples(args)?;
    let source = model_in(&args.model);
    let mut checkpoint = Checkpoint::open(&source, Purpose::Inference, &device)?;
    let speech = Speech::of(&mut checkpoint, args.template)?;
    let mut collection = Collection::open(&args.out)?;
    let interrupt = Interrupt::catch()?;
    let judge = args.rule.map_or(Judge::Person, Judge::Rule);
    let sampler = Sampler::new(Choice::at(args.temperature, None, None, None));
    let (begin, rows, out) = (collection.next(), collection.rows(), args.out.display());
    if rows > 0 {
        println!("{out} has {rows} rows; going on with question {}", begin + 1);
    }
    'questions: for (number, example) in examples.iter().enumerate().skip(begin) {
        let prompt = vec![speech.prompt(&example.prompt)?; args.samples.get()];
        let mut rng = Rng::new(args.compute.seed.wrapping_add(number as u64)); // its own, so that it is asked alike again
        let drawn =
            speech.drawn(&checkpoint.model, &prompt, sampler, args.max_new_tokens, &mut rng)?;
        let responses = distinct(drawn.into_iter().map(|answer| answer.text));
        let Some((first, others)) = responses.split_first() else { continue };
        let mut best = first; // it meets the next one
        for other in others {
            let pair = [best.as_str(), other.as_str()];
            let known = collection.decided(number, pair);
            let title = format!("question {} of {}", number + 1, examples.len());
            let decision = match known {
                Some(better) => Decision::Better(better),
                None => judge.decide(&title, example, pair, &interrupt)?,
            };
            let better = match decision {
                Decision::Better(better) => better,
                Decision::Neither => continue,
                Decision::End => break 'questions,
            };
            if known.is_none() {
                let [chosen, rejected] = [pair[better], pair[1 - better]].map(String::from);
                let prompt = example.prompt.clone();
                collection.add(number, &Preference { prompt, chosen, rejected })?;
            }
            best = if better == 0 { best } else { other };
        }
        if interrupt.requested() {
            break;
        }
    }
    println!("{} rows in {out}", collection.rows());
    Ok(())
}

impl Judge {
    fn decide(
        &self,
        title: &str,
        example: &Example,
        pair: [&str; 2],
        interrupt: &Interrupt,
    ) -> Result<Decision> {
        match self {
            Self::Person => ask(title, example, pair, interrupt),
            Self::Rule(rule) => {
                let better = rule.better(pair, &example.response);
                Ok(better.map_or(Decision::Neither, Decision::Better))
            }
        }
    }
}

/// The questions: of the arithmetic task those to learn from, else all.
fn examples(args: &CollectArgs) -> Result<Vec<Example>> {
    let (source, columns) = args.data.open()?;
    let n = args.questions.get();
    let mut examples = match source {
        Source::Arithmetic => demonstrations(n, Demos::Clean, args.compute.seed),
        _ => source.all(columns.as_ref())?,
    };
    examples.truncate(n);
    ensure!(!examples.is_empty(), "there is no question to ask");
    Ok(examples)
}

/// What differs, and is not empty, in order.
fn distinct(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut distinct: Vec<String> = Vec::new();
    for text in texts.map(|text| text.trim().to_string()) {
        if !text.is_empty() && !distinct.contains(&text) {
            distinct.push(text);
        }
    }
    distinct
}

/// Lines that are typed, read by a thread of their own, so that waiting for one can be ended. The thread outlives the command, so a
/// process has one.
static LINES: LazyLock<Mutex<Receiver<String>>> = LazyLock::new(|| {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for line in stdin().lock().lines().map_while(|line| line.ok()) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    Mutex::new(receive)
});

/// Shows a pair and waits for 1, 2, s (neither) or q.
fn ask(title: &str, example: &Example, pair: [&str; 2], interrupt: &Interrupt) -> Result<Decision> {
    println!("\n{title}");
    for Message { role, content } in &example.prompt {
        println!("{role}: {content}");
    }
    println!("  1  {}\n  2  {}", pair[0], pair[1]);
    let answers = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        print!("better: 1 or 2, s to skip, q to end > ");
        stdout().flush().context("writing to the terminal")?;
        let answer = loop {
            match answers.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => break line,
                Err(RecvTimeoutError::Timeout) if !interrupt.requested() => {}
                Err(_) => {
                    println!();
                    return Ok(Decision::End);
                }
            }
        };
        match answer.trim() {
            "1" => return Ok(Decision::Better(0)),
            "2" => return Ok(Decision::Better(1)),
            "s" => return Ok(Decision::Neither),
            "q" => return Ok(Decision::End),
            _ => {}
        }
    }
}
