//! Arguments of the commands that compare algorithms, `table` and `perfectible`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use experiment::flags::ComputeFlags;
use experiment::number::positive;

use super::arguments::PolicyFlags;

#[derive(Args)]
#[command(mut_arg("model", |arg| {
    arg.help("Model that every run starts from: a run folder of part 6, or a model folder")
}))]
#[command(mut_arg("seed", |arg| arg.default_value("1").help("Seed of each algorithm's first run")))]
pub(crate) struct TableArgs {
    #[command(flatten)]
    pub(crate) policy: PolicyFlags,
    /// Peak learning rate
    #[arg(
        long, value_name = "X", default_value_t = 2e-4, value_parser = positive,
        help_heading = "Optimization"
    )]
    pub(crate) lr: f64,
    /// Tokens that each run samples
    #[arg(long, value_name = "N", default_value = "100000", help_heading = "Optimization")]
    pub(crate) tokens: NonZeroUsize,
    /// Runs per algorithm
    #[arg(long, value_name = "N", default_value = "3", help_heading = "Run")]
    pub(crate) seeds: NonZeroUsize,
    /// Folder of the results and curves; finished runs in it are not repeated
    #[arg(
        long,
        visible_alias = "output-dir",
        value_name = "DIR",
        default_value = "runs/table",
        help_heading = "Run"
    )]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
}

impl TableArgs {
    /// Seeds of the runs: --seed, and those that follow it.
    pub(crate) fn run_seeds(&self) -> impl Iterator<Item = u64> {
        (0..self.seeds.get() as u64).map(|i| self.compute.seed.wrapping_add(i))
    }
}

#[derive(Args)]
#[command(args_override_self = true)]
#[command(mut_arg("lr", |arg| arg.default_value("0.0005")))]
#[command(mut_arg("tokens", |arg| arg.default_value("200000")))]
#[command(mut_arg("seeds", |arg| arg.default_value("5")))]
#[command(mut_arg("out", |arg| arg.default_value("runs/perfectible")))]
#[command(mut_arg("seed", |arg| {
    arg.default_value("1337").help("Seed of the choice of problems; the runs have seeds from 1 on")
}))]
pub(crate) struct PerfectibleArgs {
    #[command(flatten)]
    pub(crate) table: TableArgs,
    /// Problems (prompt and answer), a file .jsonl, .json or .parquet [default: the training
    /// problems of the arithmetic task]
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub(crate) data: Option<PathBuf>,
    /// Completions per problem, of which 20 to 80 % must be right
    #[arg(long, value_name = "N", default_value = "40", help_heading = "Data")]
    pub(crate) samples: NonZeroUsize,
    /// Largest number of problems
    #[arg(long, value_name = "N", default_value = "200", help_heading = "Data")]
    pub(crate) problems: NonZeroUsize,
}
