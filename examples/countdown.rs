//! Random searches of Countdown puzzles as a file of demonstrations, for a model that is to learn
//! to search before GRPO teaches it to search well, on puzzles of which it has seen no search:
//!
//!     cargo run --example countdown -- --out runs/countdown/searches.jsonl
//!     cargo run -p part_6 -- train --data runs/countdown/searches.jsonl --epochs 6 \
//!         --out runs/countdown/sft
//!     cargo run -p part_9 -- train --task countdown --model runs/countdown/sft \
//!         --max-new-tokens 84 --out runs/countdown/grpo

#[macro_use]
extern crate tensor_core; // its `println!` and the like, which do not panic

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use datasets::countdown::{self, Puzzle};
use datasets::countdown_search::random_search;
use experiment::{picture, program};
use serde_json::json;
use tensor_core::{Rng, atomic_file};

/// Write random searches of Countdown puzzles as demonstrations
#[derive(Parser)]
#[command(name = "countdown", version)]
struct Args {
    /// File of demonstrations, JSON Lines; an earlier one is replaced
    #[arg(long, value_name = "FILE", default_value = "runs/countdown/searches.jsonl")]
    out: PathBuf,
    /// Searches of each of the 10,000 puzzles that part 9 does not use
    #[arg(long, value_name = "N", default_value = "4")]
    searches: usize,
    /// Most tries of a search
    #[arg(long, value_name = "N", default_value = "4")]
    tries: usize,
    #[arg(long, default_value = "1337")]
    seed: u64,
}

fn main() -> ExitCode {
    program::parse_and_run(run)
}

fn run(args: Args) -> Result<()> {
    let mut rng = Rng::new(args.seed);
    let (mut lines, mut n_solved) = (String::new(), 0);
    for example in &countdown::demonstrations() {
        let puzzle = Puzzle::parse(&example.completion).context("a built-in puzzle")?;
        for _ in 0..args.searches {
            let search = random_search(&puzzle, args.tries.max(1), &mut rng);
            let answer = search.completion.lines().last().unwrap_or_default();
            n_solved += usize::from(puzzle.is_solved_by(answer));
            let row = json!({ "prompt": puzzle.question(), "completion": search.completion });
            lines += &format!("{row}\n");
        }
    }
    picture::create_parent_folder(&args.out)?;
    atomic_file::write(&args.out, lines.as_bytes())?;
    let n = lines.lines().count();
    let percent = 100. * n_solved as f64 / n.max(1) as f64;
    println!("{n} searches, {percent:.1} % of them find the target: {}", args.out.display());
    Ok(())
}
