//! Programs of the book: its figures and tables, and the small programs that its chapters run.
//!
//! ```sh
//! cargo run --example book -- figures   # cargo x figures
//! cargo run --example book -- autodiff
//! cargo run --example book -- ngrams
//! cargo run --example book -- induction
//! ```

mod plot;
mod artifacts;
mod autodiff; // chapter 0
mod ngrams;
mod attention_steps; // chapter 1
mod softmax_width;
mod residual_path;
mod induction;
mod optimizer_paths; // chapter 2
mod rotation; // chapter 3
#[cfg(test)]
mod online_softmax;
mod precision; // chapter 4
mod compute_budget;
mod goodhart; // chapter 7
mod policy_gradient; // chapter 8
mod gae_weights;
mod clip_panels;
mod kl_estimators;
mod group_weights; // chapter 9
#[cfg(test)]
mod derivations;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

#[derive(Parser)]
#[command(name = "book", about = "Figures, tables and small programs of the book")]
struct Cli {
    #[command(subcommand)]
    program: Program,
}

#[derive(Subcommand)]
enum Program {
    /// Draw the figures and compute the tables, into book/src
    #[command(name = "figures")]
    DrawFigures {
        /// Write nothing, and fail if a file differs
        #[arg(long)]
        check: bool,
    },
    /// Chapter 0: automatic differentiation on a tape of scalars
    Autodiff,
    /// Chapter 0: the loss that counting bytes reaches
    Ngrams,
    /// Chapter 1: an induction head set by hand
    Induction,
}

fn main() -> Result<()> {
    match Cli::parse().program {
        Program::DrawFigures { check: true } => artifacts::check(),
        Program::DrawFigures { check: false } => artifacts::write(),
        Program::Autodiff => autodiff::run(),
        Program::Ngrams => ngrams::run(),
        Program::Induction => induction::run(),
    }
}
