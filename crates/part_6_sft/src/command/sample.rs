//! `part_6 sample`: the same questions to a model and to the one before it was tuned.

use anyhow::Result;
use modern::{Checkpoint, Message, Purpose};

use super::arguments::SampleArgs;
use crate::{Example, Tuned};

pub(super) fn run(args: &SampleArgs) -> Result<()> {
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
