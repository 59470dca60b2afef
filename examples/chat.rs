//! Chat with a model in the terminal. The KV cache is kept between turns, so each turn reads only
//! its new tokens.
//!
//!     cargo run --example chat -- --model HuggingFaceTB/SmolLM2-135M-Instruct
//!
//! `/new` starts a new conversation, `/bye` or the end of the input ends the program, and `/help`
//! prints these commands.

#[macro_use]
extern crate tensor_core; // its `println!` and the like, which do not panic

use std::io::{BufRead, IsTerminal, Write, stdin};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Parser;
use experiment::flags::ComputeFlags;
use experiment::program as command;
use experiment::terminal::printable;
use modern::flags::{ChatTemplateFlags, ModelFlags, PromptLookupFlags, SamplerFlags, WindowFlags};
use modern::{Chat, GenerateConfig, PromptTooLong};
use tensor_core::Rng;
use tensor_core::output::Stdout;

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

const HELP: &str = "/new starts a new conversation, /bye ends the program; \
                    --window lifts the limit on the length of a conversation";

/// Chat with a model: each line of the input is a turn; /new, /bye and /help are commands
#[derive(Parser)]
#[command(name = "chat", version)]
struct Args {
    #[command(flatten)]
    model: ModelFlags,
    #[command(flatten)]
    chat_template: ChatTemplateFlags,
    /// System prompt [default: that of the chat template]
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Start a new conversation with each message, for a model that was trained on single questions
    #[arg(long)]
    single_turn: bool,
    /// Maximum number of tokens in a reply
    #[arg(long, value_name = "N", default_value_t = 512)]
    max_new_tokens: usize,
    #[command(flatten)]
    prompt_lookup: PromptLookupFlags,
    #[command(flatten)]
    sampler: SamplerFlags,
    #[command(flatten)]
    window: WindowFlags,
    #[command(flatten)]
    compute: ComputeFlags,
}

fn main() -> ExitCode {
    command::parse_and_run(run)
}

fn run(args: Args) -> Result<()> {
    let device = args.compute.open_device()?;
    let variables = args.chat_template.variables(&args.model.model)?;
    let checkpoint = args.model.open_for_inference(&device)?.with_chat_variables(&variables);
    let model = &checkpoint.model;
    let config = GenerateConfig {
        cache_kind: args.prompt_lookup.cache_kind(&args.window, &model.config().attention),
        prompt_lookup_num_tokens: args.prompt_lookup.prompt_lookup_num_tokens,
        ..GenerateConfig::new(
            model,
            args.sampler.chat_sampler(checkpoint.sampler),
            args.max_new_tokens,
            checkpoint.special_ids.eos.clone(),
        )
    };
    let mut rng = Rng::new(args.compute.seed);
    let mut new_chat =
        |checkpoint| Chat::new(checkpoint, config.clone(), args.system.as_deref(), rng.fork());
    let mut chat = new_chat(&checkpoint)?;
    let is_terminal = stdin().is_terminal();
    let show_prompt = || {
        if is_terminal {
            eprint!("> ");
        }
    };
    show_prompt();
    for (number, line) in (1..).zip(stdin().lock().split(b'\n')) {
        let line = String::from_utf8(line?);
        match line.as_deref().map(str::trim) {
            Ok("") => {}
            Ok("/bye") => break,
            Ok("/help") => eprintln!("{HELP}"),
            Ok("/new") => chat = new_chat(&checkpoint)?,
            Ok(message) => {
                print_reply(&mut chat, message, is_terminal)?;
                if args.single_turn {
                    chat = new_chat(&checkpoint)?;
                }
            }
            Err(_) if is_terminal => eprintln!("this line is not UTF-8"),
            Err(_) => bail!("line {number} of the input is not UTF-8"),
        }
        show_prompt();
    }
    Ok(())
}

/// Prints the reply while it is generated. On a terminal, an error does not end the conversation.
/// The commands are a remedy for a conversation that is too long, and for no other error.
fn print_reply(chat: &mut Chat, message: &str, is_terminal: bool) -> Result<()> {
    let (start, mut out) = (Instant::now(), Stdout);
    let reply = chat.send_message(message, |text| {
        write!(out, "{}", printable(text))?;
        Ok(out.flush()?)
    });
    writeln!(out)?;
    match reply {
        Err(error) if is_terminal && error.is::<PromptTooLong>() => eprintln!("{error:#}\n{HELP}"),
        Err(error) if is_terminal => eprintln!("{error:#}"),
        Err(error) if error.is::<PromptTooLong>() => bail!("{error:#}; {HELP}"),
        Err(error) => return Err(error),
        Ok(reply) => {
            let seconds = start.elapsed().as_secs_f64();
            let (n_new, n_passes) = (reply.completion.tokens.len(), reply.completion.n_passes());
            if is_terminal {
                eprintln!(
                    "({} tokens read, {n_new} generated in {n_passes} passes, {seconds:.1} s)\n",
                    reply.n_prefill_tokens
                );
            }
        }
    }
    Ok(())
}
