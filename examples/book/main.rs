//! Programs of the book: its figures and tables, and the small programs that its chapters run.
//!
//! ```sh
//! cargo run --example book -- figures   # cargo x figures
//! cargo run --example book -- autodiff
//! cargo run --example book -- ngrams
//! cargo run --example book -- induction
//! cargo run --example book -- scaling --quick
//! cargo run --example book -- cost --quick
//! cargo run --example book -- unplug
//! cargo run --example book -- truths
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
mod sampling;
mod rotation; // chapter 3
mod masks;
#[cfg(test)]
mod online_softmax;
mod merges; // chapter 4
mod precision;
mod float_bits;
mod schedules;
mod compute_budget;
mod scaling_law;
mod scaling_runs;
mod unplug;
mod capacity; // chapter 5
mod pair_loss; // chapter 7
mod goodhart;
mod policy_gradient; // chapter 8
mod gae_weights;
mod clip_panels;
mod kl_estimators;
mod group_weights; // chapter 9
mod implicit_rewards; // chapter 10
mod dpo_losses;
mod displacement;
mod test_time; // chapter 11
mod significance; // chapter 12
mod step_cost; // how cost grows
mod power_law;
mod cost_curves;
mod cost_step;
mod cost_measure;
mod cost_figures;
#[cfg(test)]
mod derivations;

use std::ffi::OsString;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tensor_core::allocator::MiMalloc;

#[global_allocator]
static ALLOCATOR: cost_measure::Allocator = cost_measure::Allocator::around(MiMalloc);

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
    /// Chapter 4: models of four sizes on four amounts of text, and the law of their losses
    Scaling(scaling_runs::ScalingArgs),
    /// Appendix: time and memory of a step over its sizes, each varied alone
    Cost(cost_measure::CostArgs),
    /// Chapter 11: policies to which a judge gives the same score
    Truths,
    /// Chapter 4: a training run that is killed, and ends as if it had not been
    Unplug {
        /// Arguments of part 4, for the processes that are killed
        #[arg(last = true, hide = true)]
        part_4: Vec<OsString>,
    },
}

fn main() -> Result<()> {
    match Cli::parse().program {
        Program::DrawFigures { check: true } => artifacts::check(),
        Program::DrawFigures { check: false } => artifacts::write(),
        Program::Autodiff => autodiff::run(),
        Program::Ngrams => ngrams::run(),
        Program::Induction => induction::run(),
        Program::Scaling(args) => scaling_runs::run(&args),
        Program::Cost(args) => cost_measure::run(&args, &ALLOCATOR),
        Program::Truths => test_time::run(),
        Program::Unplug { part_4 } => unplug::run(&part_4),
    }
}
