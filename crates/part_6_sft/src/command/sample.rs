//! `part_6 sample`: completions of a fine-tuned model and of its base model to the same prompts.

use anyhow::{Result, anyhow, ensure};
use datasets::Example;
use model_io::{ChatMessage, LoadMode};
use modern::Checkpoint;

use super::arguments::SampleArgs;
use crate::{FinetunedModel, one_line};

pub(super) fn run(args: &SampleArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let (source, columns) = args.data.open_source()?;
    let examples: Vec<Example> = match args.prompt.is_empty() {
        true => source.load_eval_examples(columns.as_ref())?.into_iter().take(args.n).collect(),
        false => args.prompt.iter().map(|prompt| Example::new(prompt, "")).collect(),
    };
    let finetuned = args.finetuned.open(&device)?;
    let base = args.finetuned.base_model(args.base.as_deref(), &finetuned)?;
    let FinetunedModel { model, chat_tokenizer, without_adapter, .. } = finetuned;
    let open_base = |base: &String| {
        let checkpoint = Checkpoint::open(base, LoadMode::Inference, &device)?;
        let same_vocab = checkpoint.tokenizer.has_same_vocab(&chat_tokenizer.tokenizer);
        ensure!(same_vocab, "{base} and the fine-tuned model have different vocabularies");
        Ok(checkpoint.model)
    };
    let base_model = match (&args.base, without_adapter, &base) {
        (Some(_), _, Some(base)) => Ok(open_base(base)?),
        (_, Some(model), _) => Ok(model),
        (_, None, Some(base)) => open_base(base),
        (_, None, None) => Err(anyhow!("the model's files do not name it")),
    };
    if let Err(error) = &base_model {
        println!(
            "base model not found ({error:#}): showing the fine-tuned model only; \
             use --base to name it"
        );
    }
    let prompts: Vec<Vec<u32>> = examples
        .iter()
        .map(|example| chat_tokenizer.encode_prompt(&example.prompt))
        .collect::<Result<_>>()?;
    let n = args.max_new_tokens;
    let completions = chat_tokenizer.generate_greedy(&model, &prompts, n, 16)?;
    let base_completions = base_model
        .ok()
        .map(|model| chat_tokenizer.generate_greedy(&model, &prompts, n, 16))
        .transpose()?;
    for (i, Example { prompt, completion }) in examples.iter().enumerate() {
        let prompt = prompt.last().map_or("", |ChatMessage { content, .. }| content);
        println!("prompt      {}", one_line(prompt));
        if let Some(base_completions) = &base_completions {
            println!("  base      {}", one_line(&base_completions[i].text));
        }
        println!("  tuned     {}", one_line(&completions[i].text));
        if !completion.is_empty() {
            println!("  expected  {}", one_line(completion));
        }
    }
    Ok(())
}
