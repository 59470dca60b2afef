//! The tools of part 3: train a modern model, let any model write, score a text. Without a subcommand: the demo.

mod arguments;
mod demo;

use std::io::{StdoutLock, Write};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use modern::checkpoint::Checkpoint;
use modern::config::{Mlp, NormKind, PositionEncoding};
use modern::perplexity::text_log_probs;
use modern::{
    AddGenerationPrompt, AddSpecialTokens, ChatMessage, GenerateConfig, GptModern, ModelConfig,
    ParseSpecial, SkipSpecialTokens, config_json, generate,
};
use serde_json::json;
use tensor_core::Rng;
use tensor_core::ops::Gelu;
use tiny_gpt::TrainCommand;
use tiny_gpt::command::{self, as_usage_error};

use arguments::{
    Cli, Command, GenerateArgs, MlpChoice, NormChoice, PositionChoice, ScoreArgs, TrainArgs,
};

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

/// The model that the flags describe.
fn model_config(args: &TrainArgs) -> Result<ModelConfig> {
    let gpt = args.size.config()?;
    let dropout = gpt.block.dropout;
    as_usage_error(if dropout == 0. { Ok(()) } else { Err("--dropout: part 3's model has none") })?;
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
    // An answer begins a text; what continues a prompt does not.
    let before = if args.ask.is_some() { &[][..] } else { &prompt };
    let mut stream = tokenizer.stream(SkipSpecialTokens::Yes, before);
    let (mut text, start, mut first) = (String::new(), Instant::now(), None);
    let mut rng = Rng::new(args.compute.seed);
    let mut all = generate(model, std::slice::from_ref(&prompt), &config, &mut rng, |_, token| {
        if first.is_none() {
            first = Some(Instant::now());
            show(&mut out, &args.prompt)?;
        }
        let new = stream.push(token)?;
        text.push_str(&new);
        Ok(show(&mut out, &new)?)
    })?;
    if first.is_none() {
        show(&mut out, &args.prompt)?;
    }
    let rest = stream.finish()?;
    show(&mut out, &format!("{rest}\n"))?;
    if !args.json {
        return Ok(());
    }
    text.push_str(&rest);
    let end = Instant::now();
    let first = first.unwrap_or(end);
    let tokens = all.remove(0).tokens;
    let rate = |n: usize, seconds: f64| if seconds > 0. { n as f64 / seconds } else { 0. };
    let report = json!({
        "text": text,
        "token_ids": tokens,
        "prompt_tokens": prompt.len(),
        "new_tokens": tokens.len(),
        "prefill_tokens_per_s": rate(prompt.len(), (first - start).as_secs_f64()),
        "decode_tokens_per_s": rate(tokens.len().saturating_sub(1), (end - first).as_secs_f64()),
    });
    writeln!(out, "{report}")?;
    Ok(())
}

/// The ids of the text to continue: the prompt, or the question as the model was taught to read it.
fn prompt_ids(args: &GenerateArgs, checkpoint: &Checkpoint) -> Result<Vec<u32>> {
    let Checkpoint { tokenizer, special_ids: ends, chat_template: template, .. } = checkpoint;
    if let Some(question) = &args.ask {
        let template = template.as_ref().context("the model has no chat template: use --prompt")?;
        let chat = [ChatMessage::user(question)];
        return Ok(template.encode(tokenizer, &chat, AddGenerationPrompt::Yes)?.tokens);
    }
    let mut ids = tokenizer.encode(&args.prompt, AddSpecialTokens::Yes, ParseSpecial::No)?;
    ids.pop_if(|last| ends.eos.contains(last)); // some tokenizers end every text, but this one is to go on
    match (ids.is_empty(), ends.bos) {
        (true, Some(bos)) => Ok(vec![bos]), // a text from nothing
        _ => Ok(ids),
    }
}

fn run_score(args: &ScoreArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let text = std::fs::read_to_string(&args.text_file)
        .with_context(|| format!("reading {}", args.text_file.display()))?;
    let Checkpoint { model, tokenizer, .. } = args.model.open_for_inference(&device)?;
    let tokens = tokenizer.encode(&text, AddSpecialTokens::Yes, ParseSpecial::No)?;
    let found = text_log_probs(&model, &tokens)?;
    if args.json {
        let (logprobs, perplexity) = (found.log_probs, found.perplexity);
        println!(
            "{}",
            json!({ "token_ids": tokens, "logprobs": logprobs, "perplexity": perplexity })
        );
        return Ok(());
    }
    for (&token, log_prob) in tokens[1..].iter().zip(&found.log_probs) {
        println!("{log_prob:9.4}  {:?}", tokenizer.decode(&[token], SkipSpecialTokens::No)?);
    }
    println!("perplexity {:.4} over {} tokens", found.perplexity, found.log_probs.len());
    Ok(())
}
