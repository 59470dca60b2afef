//! The program of part 3: train a modern model, generate with any model, score a text. Without a
//! subcommand, the demo.

mod arguments;
mod demo;

use std::io::{StdoutLock, Write};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use arguments::{
    Cli, Command, GenerateArgs, MlpChoice, NormChoice, PositionChoice, ScoreArgs, TrainArgs,
};
use experiment::program as command;
use experiment::program::as_usage_error;
use model_io::config::{Mlp, NormKind, PositionEncoding};
use model_io::{
    AddGenerationPrompt, AddSpecialTokens, ChatMessage, ModelConfig, ParseSpecial,
    SkipSpecialTokens, config_json,
};
use modern::checkpoint::Checkpoint;
use modern::perplexity::text_log_probs;
use modern::{GenerateConfig, GptModern, generate};
use serde_json::json;
use tensor_core::Rng;
use tensor_core::ops::Gelu;
use tiny_gpt::TrainCommand;

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

fn main() -> ExitCode {
    command::parse_and_run(|cli: Cli| match cli.command {
        None => demo::run(&cli.demo),
        Some(Command::Train(args)) => run_train(&args),
        Some(Command::Generate(args)) => run_generate(&args),
        Some(Command::Score(args)) => run_score(&args),
    })
}

/// The model configuration given by the flags.
fn model_config(args: &TrainArgs) -> Result<ModelConfig> {
    let gpt = args.size.config()?;
    let dropout = gpt.block.dropout;
    as_usage_error(match dropout == 0. {
        true => Ok(()),
        false => Err("--dropout: the model of part 3 has no dropout"),
    })?;
    let c = gpt.block.n_embd;
    let mut config =
        ModelConfig::byte_level(gpt.context_len, gpt.block.n_layer, gpt.block.n_head, c);
    config.attention.n_kv_head = args.n_kv_head.map_or(gpt.block.n_head, |n| n.get());
    config.attention.window = args.window.sliding_window();
    if let NormChoice::Layer = args.norm {
        config.norm = NormKind::Layer { eps: 1e-5 };
    }
    if let PositionChoice::Learned = args.position {
        config.attention.position = PositionEncoding::Learned;
    }
    if let MlpChoice::Gelu = args.mlp {
        config.mlp = Mlp::Gelu { width: c.saturating_mul(4), form: Gelu::Tanh };
    }
    as_usage_error(config.validate())?;
    Ok(config)
}

fn run_train(args: &TrainArgs) -> Result<()> {
    let config = model_config(args)?;
    let TrainArgs { data, out, train, compute, json, .. } = args;
    let command = TrainCommand { data, out, train, compute, json: *json };
    let about = config_json::to_json(&config);
    command.run(config.context_len, config.parameter_count(), &about, |scope| {
        GptModern::new(&config, scope)
    })
}

fn run_generate(args: &GenerateArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let checkpoint = args.model.open_for_inference(&device)?;
    let Checkpoint { model, tokenizer, .. } = &checkpoint;
    let prompt = prompt_ids(args, &checkpoint)?;
    let config = GenerateConfig {
        sampler: match args.ask {
            Some(_) => args.sampler.chat_sampler(checkpoint.sampler),
            None => args.sampler.sampler(checkpoint.sampler),
        },
        max_new_tokens: args.max_new_tokens,
        stop_tokens: checkpoint.special_ids.eos.clone(),
        cache_kind: args.window.cache_kind(model.config().attention.window),
        prefill_chunk: 512,
    };
    let mut out = std::io::stdout().lock();
    let show = |out: &mut StdoutLock<'_>, text: &str| match args.json {
        true => Ok(()),
        false => write!(out, "{text}").and_then(|()| out.flush()),
    };
    // The reply to --ask starts a text of its own; a completion continues the prompt.
    let stream_context = if args.ask.is_some() { &[][..] } else { &prompt };
    let mut stream = tokenizer.stream(SkipSpecialTokens::Yes, stream_context);
    let (mut text, start, mut first_token_at) = (String::new(), Instant::now(), None);
    let mut rng = Rng::new(args.compute.seed);
    let mut completions =
        generate(model, std::slice::from_ref(&prompt), &config, &mut rng, |_, token| {
            if first_token_at.is_none() {
                first_token_at = Some(Instant::now());
                show(&mut out, &args.prompt)?;
            }
            let new = stream.push(token)?;
            text.push_str(&new);
            Ok(show(&mut out, &new)?)
        })?;
    if first_token_at.is_none() {
        show(&mut out, &args.prompt)?;
    }
    let rest = stream.finish()?;
    show(&mut out, &format!("{rest}\n"))?;
    if !args.json {
        return Ok(());
    }
    text.push_str(&rest);
    let end = Instant::now();
    let first_token_at = first_token_at.unwrap_or(end);
    let tokens = completions.remove(0).tokens;
    let per_second = |n: usize, seconds: f64| if seconds > 0. { n as f64 / seconds } else { 0. };
    let report = json!({
        "text": text,
        "token_ids": tokens,
        "prompt_tokens": prompt.len(),
        "new_tokens": tokens.len(),
        "prefill_tokens_per_s": per_second(prompt.len(), (first_token_at - start).as_secs_f64()),
        "decode_tokens_per_s":
            per_second(tokens.len().saturating_sub(1), (end - first_token_at).as_secs_f64()),
    });
    writeln!(out, "{report}")?;
    Ok(())
}

/// Token ids of the prompt, or of the question put through the model's chat template.
fn prompt_ids(args: &GenerateArgs, checkpoint: &Checkpoint) -> Result<Vec<u32>> {
    let Checkpoint { tokenizer, special_ids, chat_template, .. } = checkpoint;
    if let Some(question) = &args.ask {
        let template =
            chat_template.as_ref().context("the model has no chat template: use --prompt")?;
        let messages = [ChatMessage::user(question)];
        return Ok(template.encode(tokenizer, &messages, AddGenerationPrompt::Yes)?.tokens);
    }
    let mut ids = tokenizer.encode(&args.prompt, AddSpecialTokens::Yes, ParseSpecial::No)?;
    // Some tokenizers append eos to every text, but this text is to be continued.
    ids.pop_if(|last| special_ids.eos.contains(last));
    match (ids.is_empty(), special_ids.bos) {
        (true, Some(bos)) => Ok(vec![bos]), // unconditional generation
        _ => Ok(ids),
    }
}

fn run_score(args: &ScoreArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let text = std::fs::read_to_string(&args.text_file)
        .with_context(|| format!("reading {}", args.text_file.display()))?;
    let Checkpoint { model, tokenizer, .. } = args.model.open_for_inference(&device)?;
    let tokens = tokenizer.encode(&text, AddSpecialTokens::Yes, ParseSpecial::No)?;
    let scored = text_log_probs(&model, &tokens)?;
    if args.json {
        let (logprobs, perplexity) = (scored.log_probs, scored.perplexity);
        println!(
            "{}",
            json!({ "token_ids": tokens, "logprobs": logprobs, "perplexity": perplexity })
        );
        return Ok(());
    }
    for (&token, log_prob) in tokens[1..].iter().zip(&scored.log_probs) {
        println!("{log_prob:9.4}  {:?}", tokenizer.decode(&[token], SkipSpecialTokens::No)?);
    }
    println!("perplexity {:.4} over {} tokens", scored.perplexity, scored.log_probs.len());
    Ok(())
}
