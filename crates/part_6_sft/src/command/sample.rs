//! `part_6 sample`: the same questions to a model and to the one before it was tuned.

use anyhow::Result;
use modern::{Checkpoint, Message, Purpose};

use super::arguments::SampleArgs;
use crate::{Example, Tuned, one_line};

pub(super) fn run(args: &SampleArgs) -> Result<()> {
    let device = args.compute.open()?;
    let (source, columns) = args.data.open()?;
    let examples: Vec<Example> = match args.prompt.is_empty() {
        true => source.all(columns.as_ref())?.into_iter().take(args.n).collect(),
        false => args.prompt.iter().map(|prompt| Example::new(prompt, "")).collect(),
    };
    let tuned = args.tuned.open(&device)?;
    let base = args.tuned.began_with(args.base.as_deref(), &tuned)?;
    let Tuned { model, speech, without, .. } = tuned;
    let opened = |base: &String| Checkpoint::open(base, Purpose::Inference, &device);
    let before = match (&args.base, without, &base) {
        (Some(_), _, Some(base)) => Some(opened(base)?.model),
        (_, Some(model), _) => Some(model),
        (_, None, Some(base)) => opened(base).map(|checkpoint| checkpoint.model).ok(),
        (_, None, None) => None,
    };
    if before.is_none() {
        println!("what it was before is not known, or not there any more; --base names it");
    }
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
