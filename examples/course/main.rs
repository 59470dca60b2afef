//! The whole course in one command, on built-in data: each stage is a command of a part, and a page shows what came of it.
//!
//!     cargo run --release --example course
//!
//! Everything it makes is kept in `runs/course/`; `report.html` there is the page.

mod attention;
mod base;
mod course;
mod exam;
mod report;
mod sample;
mod scoreboard;
mod stage;
mod stages;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tiny_gpt::command;
use tiny_gpt::flags::ComputeFlags;

use course::Course;
use stages::STAGES;

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

/// The whole course in one command: a language model is born, learns to answer, is judged, and gets better by trying.
#[derive(Parser)]
#[command(name = "course", version)]
struct Args {
    /// Where everything goes
    #[arg(long, value_name = "DIR", default_value = "runs/course")]
    out: PathBuf,
    #[command(flatten)]
    which: Which,
    /// A look in a minute: few steps at every stage, too few to learn much
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    compute: ComputeFlags,
}

/// Which stages; all, in a new run, without a word.
#[derive(clap::Args)]
struct Which {
    /// Go on with the run in --out, at the first stage that is not done
    #[arg(long)]
    resume: bool,
    /// Do one stage, anew; what follows from it is then done again by --resume
    #[arg(long, value_name = "STAGE", value_parser = STAGES.map(|stage| stage.name))]
    only: Option<String>,
}

fn main() -> ExitCode {
    command::run(run)
}

fn run(args: Args) -> Result<()> {
    args.compute.open()?; // the stages open the same again
    let course = match (&args.which.only, args.which.resume) {
        (Some(_), _) => Course::begin_or_resume(args.out, args.quick, &args.compute)?,
        (None, true) => Course::resume(args.out, args.quick, &args.compute)?,
        (None, false) => Course::begin(args.out, args.quick, &args.compute)?,
    };
    let ended = match &args.which.only {
        Some(name) => course.redo(name)?,
        None => course.run()?,
    };
    let out = course.out.display();
    if !ended {
        println!(
            "\nStopped; go on with: cargo run --release --example course -- --resume --out {out}"
        );
        return Ok(());
    }
    report::write(&course)?;
    println!("\nThe whole story, with curves: {out}/report.html");
    println!(
        "Talk to one of the models:    cargo run --release --example chat -- --model {out}/grpo"
    );
    Ok(())
}
