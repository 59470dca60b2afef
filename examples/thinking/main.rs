//! Thinking that pays: a small model can guess the last digit of a sum or work it out, and learns
//! from right and wrong alone when to do which.
//!
//!     cargo run --example thinking
//!
//! The page `runs/thinking.html` has the curves and the answers.

#[macro_use]
extern crate tensor_core; // its `println!` and the like, which do not panic

mod answers;
mod learning;
mod page;
mod policy;
mod problems;
#[cfg(test)]
mod tests;

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use answers::change;
use anyhow::Result;
use clap::Parser;
use experiment::flags::ComputeFlags;
use experiment::{picture, program};
use learning::{CONTROLS, Demonstrations, MAIN, Run, Steps};

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

/// Teach a small model to add, then reward right answers: it learns when to work a sum out
#[derive(Parser)]
#[command(name = "thinking", version)]
struct Args {
    /// Page with the curves and answers; an earlier one is replaced
    #[arg(long, value_name = "FILE", default_value = "runs/thinking.html")]
    out: PathBuf,
    /// Number of seeds, from --seed on; the controls have the first one
    #[arg(long, value_name = "N", default_value = "1")]
    seeds: NonZeroU64,
    /// Finish in some seconds: too few steps to learn anything
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    compute: ComputeFlags,
}

fn main() -> ExitCode {
    program::parse_and_run(run)
}

fn run(args: Args) -> Result<()> {
    let (start, device) = (Instant::now(), args.compute.open_device()?);
    picture::create_parent_folder(&args.out)?;
    let steps = if args.quick { Steps::QUICK } else { Steps::FULL };
    let seed = args.compute.seed;
    let (mut runs, mut controls) = (Vec::new(), Vec::new());
    for run_seed in (0..args.seeds.get()).map(|i| seed.wrapping_add(i)) {
        let finetuned = Demonstrations::Worked.finetune(steps, run_seed, &device)?;
        runs.push(Run::new(MAIN, &finetuned, steps, run_seed)?);
        for variant in CONTROLS.into_iter().filter(|_| run_seed == seed) {
            controls.push(match variant.demonstrations {
                Demonstrations::Worked => Run::new(variant, &finetuned, steps, seed)?,
                short => Run::new(variant, &short.finetune(steps, seed, &device)?, steps, seed)?,
            });
        }
    }
    println!("\n{:38}{:>14}{:>14}{:>13}", "test sums", "right, %", "worked, %", "tokens");
    for run in runs.iter().chain(&controls) {
        let means = run.before_and_after(|_| true);
        println!(
            "{:38}{:>14}{:>14}{:>13}",
            format!("{}, seed {}", run.variant.name, run.seed),
            change(means, |means| 100. * means.accuracy),
            change(means, |means| 100. * means.worked),
            change(means, |means| means.length),
        );
    }
    page::write(&args.out, &runs, &controls, start.elapsed().as_secs_f64(), args.quick)?;
    println!("\nCurves and answers: {}", args.out.display());
    Ok(())
}
