//! `part_6 sample`: the same questions to a model and to the one before it was tuned.

use anyhow::{Result, anyhow, ensure};
use modern::{ChatMessage, Checkpoint, LoadMode};

use super::arguments::SampleArgs;
use crate::{Example, FinetunedModel, one_line};

pub(super) fn run(args: &SampleArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let (source, columns) = args.data.open_source()?;
    let examples: Vec<Example> = match args.prompt.is_empty() {
        true => source.load_all(columns.as_ref())?.into_iter().take(args.n).collect(),
        false => args.prompt.iter().map(|prompt| Example::new(prompt, "")).collect(),
    };
    let tuned = args.finetuned.open(&device)?;
    let base = args.finetuned.base_model(args.base.as_deref(), &tuned)?;
    let FinetunedModel { model, chat_tokenizer: speech, without_adapter: without, .. } = tuned;
    let opened = |base: &String| {
        let other = Checkpoint::open(base, LoadMode::Inference, &device)?;
        let same = other.tokenizer.has_same_vocab(&speech.tokenizer);
        ensure!(same, "{base} has other tokens than the tuned model");
        Ok(other.model)
    };
    let before = match (&args.base, without, &base) {
        (Some(_), _, Some(base)) => Ok(opened(base)?),
        (_, Some(model), _) => Ok(model),
        (_, None, Some(base)) => opened(base),
        (_, None, None) => Err(anyhow!("it is not known")),
    };
    if let Err(error) = &before {
        println!("what it was before is not shown beside it ({error:#}); --base names it");
    }
    let prompts: Vec<Vec<u32>> = examples
        .iter()
        .map(|example| speech.encode_prompt(&example.prompt))
        .collect::<Result<_>>()?;
    let n = args.max_new_tokens;
    let tuned = speech.generate_greedy(&model, &prompts, n, 16)?;
    let before =
        before.ok().map(|model| speech.generate_greedy(&model, &prompts, n, 16)).transpose()?;
    for (i, Example { prompt, completion }) in examples.iter().enumerate() {
        let question = prompt.last().map_or("", |ChatMessage { content, .. }| content);
        println!("question  {}", one_line(question));
        if let Some(before) = &before {
            println!("  base    {}", one_line(&before[i].text));
        }
        println!("  tuned   {}", one_line(&tuned[i].text));
        if !completion.is_empty() {
            println!("  wanted  {}", one_line(completion));
        }
    }
    Ok(())
}
