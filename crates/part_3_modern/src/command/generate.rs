//! The command `generate`: the continuation of a text, or the answer to a question, streamed as it
//! is generated.

use std::io::{self, Write};
use std::time::Instant;

use anyhow::{Context, Result};
use experiment::terminal::printable;
use model_io::{
    AddGenerationPrompt, AddSpecialTokens, ChatMessage, ParseSpecial, SkipSpecialTokens, Tokenizer,
};
use serde_json::json;
use tensor_core::Rng;
use tensor_core::output::Stdout;

use super::arguments::GenerateArgs;
use crate::{Checkpoint, GenerateConfig, GptModern, generate};

/// Model and settings of the arguments.
pub(super) fn open(args: &GenerateArgs) -> Result<(Checkpoint, GenerateConfig)> {
    let device = args.compute.open_device()?;
    let variables = args.chat_template.variables(&args.model.model)?;
    let checkpoint = args.model.open_for_inference(&device)?.with_chat_variables(&variables);
    let config = GenerateConfig {
        sampler: match args.ask {
            Some(_) => args.sampler.chat_sampler(checkpoint.sampler),
            None => args.sampler.sampler(checkpoint.sampler),
        },
        max_new_tokens: args.max_new_tokens,
        min_new_tokens: 0,
        stop_tokens: checkpoint.special_ids.eos.clone(),
        cache_kind: args
            .prompt_lookup
            .cache_kind(&args.window, &checkpoint.model.config().attention),
        prefill_chunk: 512,
        prompt_lookup_num_tokens: args.prompt_lookup.prompt_lookup_num_tokens,
    };
    Ok((checkpoint, config))
}

pub(super) fn run(args: &GenerateArgs) -> Result<()> {
    let (checkpoint, config) = open(args)?;
    let prompt = prompt_ids(args, &checkpoint)?;
    let mut out: Box<dyn Write> = match args.json {
        true => Box::new(io::sink()),
        false => Box::new(Stdout),
    };
    // The reply to --ask starts a text of its own; a completion continues the prompt.
    let stream_context = if args.ask.is_some() { &[][..] } else { &prompt };
    let mut stream = checkpoint.tokenizer.stream(SkipSpecialTokens::Yes, stream_context);
    let (mut text, start, mut first_token_at) = (String::new(), Instant::now(), None);
    let (prompts, mut rng) = (std::slice::from_ref(&prompt), Rng::new(args.compute.seed));
    let mut completions = generate(&checkpoint.model, prompts, &config, &mut rng, |_, token| {
        if first_token_at.is_none() {
            first_token_at = Some(Instant::now());
            write!(out, "{}", args.prompt)?;
        }
        let new = stream.push(token)?;
        text.push_str(&new);
        write!(out, "{}", printable(&new))?;
        Ok(out.flush()?)
    })?;
    if first_token_at.is_none() {
        write!(out, "{}", args.prompt)?;
    }
    let rest = stream.finish()?;
    writeln!(out, "{}", printable(&rest))?;
    let end = Instant::now();
    let completion = completions.remove(0);
    let (n_passes, tokens) = (completion.n_passes(), completion.tokens);
    let tokens_per_pass = tokens.len() as f64 / n_passes.max(1) as f64;
    if args.prompt_lookup.prompt_lookup_num_tokens.is_some() {
        let n = tokens.len();
        eprintln!("{n} tokens in {n_passes} forward passes: {tokens_per_pass:.2} tokens per pass");
    }
    if !args.json {
        return Ok(());
    }
    let first_token_at = first_token_at.unwrap_or(end);
    let (prefill_s, decode_s) =
        ((first_token_at - start).as_secs_f64(), (end - first_token_at).as_secs_f64());
    let report = json!({
        "text": text + &rest,
        "token_ids": tokens,
        "prompt_tokens": prompt.len(),
        "new_tokens": tokens.len(),
        "prefill_tokens_per_s": per_second(prompt.len(), prefill_s),
        "decode_tokens_per_s": per_second(tokens.len().saturating_sub(1), decode_s),
        "tokens_per_pass": tokens_per_pass,
    });
    println!("{report}");
    Ok(())
}

fn per_second(n: usize, seconds: f64) -> f64 {
    if seconds > 0. { n as f64 / seconds } else { 0. }
}

/// Token ids of the prompt, or of the question put through the model's chat template.
fn prompt_ids(args: &GenerateArgs, checkpoint: &Checkpoint) -> Result<Vec<u32>> {
    let Checkpoint { tokenizer, chat_template, .. } = checkpoint;
    if let Some(question) = &args.ask {
        let template =
            chat_template.as_ref().context("the model has no chat template: use --prompt")?;
        let messages = [ChatMessage::user(question)];
        return Ok(template.encode(tokenizer, &messages, AddGenerationPrompt::Yes)?.tokens);
    }
    text_ids(&args.prompt, checkpoint)
}

/// Token ids of a text to continue.
pub(super) fn text_ids(text: &str, checkpoint: &Checkpoint) -> Result<Vec<u32>> {
    let Checkpoint { tokenizer, special_ids, .. } = checkpoint;
    let mut ids = tokenizer.encode(text, AddSpecialTokens::Yes, ParseSpecial::No)?;
    // Some tokenizers append eos to every text, but this text is to be continued.
    ids.pop_if(|last| special_ids.eos.contains(last));
    match (ids.is_empty(), special_ids.bos) {
        (true, Some(bos)) => Ok(vec![bos]), // unconditional generation
        _ => Ok(ids),
    }
}

/// Prints `prompt`, whose token ids are `ids`, and its completion as it is generated.
///
/// # Errors
/// Those of [`generate`](fn@generate), and when stdout is closed.
pub fn print_completion(
    model: &GptModern,
    tokenizer: &Tokenizer,
    prompt: &str,
    ids: Vec<u32>,
    config: &GenerateConfig,
    seed: u64,
) -> Result<()> {
    let mut out = Stdout;
    write!(out, "{prompt}")?;
    let mut stream = tokenizer.stream(SkipSpecialTokens::Yes, &ids);
    generate(model, &[ids], config, &mut Rng::new(seed), |_, token| {
        write!(out, "{}", printable(&stream.push(token)?))?;
        Ok(out.flush()?)
    })?;
    Ok(writeln!(out, "{}", printable(&stream.finish()?))?)
}
