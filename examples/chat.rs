//! A conversation with a model, in the terminal; between the turns it keeps what it has read.
//!
//!     cargo run --release --example chat -- --model HuggingFaceTB/SmolLM2-135M-Instruct
//!
//! `/new` begins a new conversation, `/bye` or the end of the input ends the program, `/help` says so.

use std::io::{self, BufRead, IsTerminal, Write, stderr, stdin, stdout};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Parser;
use modern::flags::{ModelFlags, SamplerFlags, WindowFlags};
use modern::{Chat, GenerateConfig};
use tensor_core::Rng;
use tiny_gpt::command;
use tiny_gpt::flags::ComputeFlags;

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

const HELP: &str =
    "/new begins a new conversation, /bye ends; with --window a conversation need not end";

/// Converse with a chat model. Each line of the input is a turn; /new begins anew, /bye ends, /help says so.
#[derive(Parser)]
#[command(name = "chat", version)]
struct Args {
    #[command(flatten)]
    model: ModelFlags,
    /// How the model is to behave [default: what its template says]
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Most tokens of a reply
    #[arg(long, value_name = "N", default_value_t = 512)]
    max_new_tokens: usize,
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
    let checkpoint = args.model.open_for_inference(&device)?;
    let model = &checkpoint.model;
    let config = GenerateConfig {
        cache_kind: args.window.cache_kind(model.config().attention.window),
        ..GenerateConfig::new(
            model,
            args.sampler.chat_sampler(checkpoint.sampler),
            args.max_new_tokens,
            checkpoint.special_ids.eos.clone(),
        )
    };
    let mut rng = Rng::new(args.compute.seed);
    let mut begin =
        |checkpoint| Chat::new(checkpoint, config.clone(), args.system.as_deref(), rng.fork());
    let mut chat = begin(&checkpoint)?;
    let terminal = stdin().is_terminal();
    let ask = || match terminal {
        true => write!(stderr(), "> ").and_then(|()| stderr().flush()),
        false => Ok(()),
    };
    ask()?;
    for line in stdin().lock().lines() {
        match line?.trim() {
            "" => {}
            "/bye" => break,
            "/help" => writeln!(stderr(), "{HELP}")?,
            "/new" => chat = begin(&checkpoint)?,
            question => print_reply(&mut chat, question, terminal)?,
        }
        ask()?;
    }
    Ok(())
}

/// Prints the reply as it comes; on a terminal, an error does not end the conversation.
fn print_reply(chat: &mut Chat, question: &str, terminal: bool) -> Result<()> {
    let (start, mut out) = (Instant::now(), stdout().lock());
    let reply = chat.send_message(question, |text| {
        write!(out, "{text}")?;
        Ok(out.flush()?)
    });
    writeln!(out)?;
    match reply {
        Err(error) if terminal => writeln!(stderr(), "{error:#}\n{HELP}")?,
        Err(error) if !error.is::<io::Error>() => bail!("{error:#}; {HELP}"),
        Err(error) => return Err(error),
        Ok(reply) => {
            let seconds = start.elapsed().as_secs_f64();
            let written = reply.completion.tokens.len();
            if terminal {
                writeln!(
                    stderr(),
                    "({} tokens read, {written} written, {seconds:.1} s)\n",
                    reply.n_prefill_tokens
                )?;
            }
        }
    }
    Ok(())
}
