//! The whole course in order, on built-in data: each stage is a file beside this one.
//!
//!     cargo run --release --example course
//!
//! Everything it shows is kept in `runs/course/`.

mod attention_by_hand;
mod modern_architecture;
mod pretraining;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use tiny_gpt::command;
use tiny_gpt::flags::ComputeFlags;

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

/// The whole course in one command: see attention work, watch a language model being born, then a modern one.
#[derive(Parser)]
#[command(name = "course", version)]
struct Args {
    /// Where everything goes; an older run there is kept as DIR.previous
    #[arg(long, value_name = "DIR", default_value = "runs/course")]
    out: PathBuf,
    /// Training steps of each model
    #[arg(long, value_name = "N", default_value = "1600")]
    steps: NonZeroUsize,
    /// A look in seconds: few steps at every stage
    #[arg(long, conflicts_with = "steps")]
    quick: bool,
    #[command(flatten)]
    compute: ComputeFlags,
}

fn main() -> ExitCode {
    command::run(course)
}

fn course(args: Args) -> Result<()> {
    let device = args.compute.open()?;
    let start = Instant::now();
    let steps = if args.quick { 60 } else { args.steps.get() };

    println!("== Part 1: attention, every number of it\n");
    attention_by_hand::show();

    println!("\n== Part 2: a tiny GPT learns to write\n");
    pretraining::run(&args.out, steps, args.compute.seed, &device)?;

    println!("\n== Part 3: a modern model, on the same stories and budget\n");
    modern_architecture::run(&args.out.join("modern"), steps, args.compute.seed, &device)?;

    attention_by_hand::draw(&args.out.join("attention.png"))?;
    println!("\nDone in {:.0} s. In {}:", start.elapsed().as_secs_f64(), args.out.display());
    println!("  model/           the model, a Hugging Face GPT-2 folder");
    println!("  loss.svg         the loss over the steps (metrics.jsonl: the same as numbers)");
    println!("  attention.png    what heads with readable weights attend to");
    println!("  trained.png      what the trained heads attend to");
    println!("  modern/          part 3's run, its model/ a Hugging Face Llama folder");
    println!(
        "Write on: cargo run --release -p part_3 -- generate --model {}/modern/model --prompt \"Once\"",
        args.out.display()
    );
    Ok(())
}
