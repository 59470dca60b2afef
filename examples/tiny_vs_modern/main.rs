//! An ablation of the modern components: part 2's model against models with one component of
//! part 3, and with all of them, on the same data and batches and for as many steps.
//!
//!     cargo run --example tiny_vs_modern -- --data shakespeare.txt --seeds 3
//!
//! Output in `runs/tiny_vs_modern/`: a folder per run, `table.md`, `results.json` and `loss.svg`.

#[macro_use]
extern crate tensor_core; // its `println!` and the like, which do not panic

mod variant;
mod training;
mod table;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use datasets::builtin_text::BuiltinText;
use experiment::flags::ComputeFlags;
use experiment::loss_curve::{self, Curve};
use experiment::program as command;
use serde_json::json;
use table::{VariantResults, markdown_table};
use tensor_core::atomic_file;
use tiny_gpt::ByteCorpus;
use tiny_gpt::flags::{ModelSizeFlags, TrainFlags, ValidationFlags};
use training::TrainingSetup;
use variant::variants;

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

/// Compare part 2's model with part 3's, one component at a time, on the same data and batches
#[derive(Parser)]
#[command(name = "tiny_vs_modern", version)]
struct Args {
    /// Text file to train on [default: the built-in stories]
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Folder of the results
    #[arg(long, value_name = "DIR", default_value = "runs/tiny_vs_modern")]
    out: PathBuf,
    /// Number of runs of each model, each from its own seed
    #[arg(long, value_name = "N", default_value = "1")]
    seeds: NonZeroUsize,
    #[command(flatten)]
    size: ModelSizeFlags,
    #[command(flatten)]
    train: TrainFlags,
    #[command(flatten)]
    validation: ValidationFlags,
    #[command(flatten)]
    compute: ComputeFlags,
}

fn main() -> ExitCode {
    command::parse_and_run(compare)
}

fn compare(args: Args) -> Result<()> {
    let (gpt2_config, device) = (args.size.config()?, args.compute.open_device()?);
    let message = "--dropout must be 0: part 3's model has no dropout";
    command::ensure_usage(gpt2_config.block.dropout == 0., message)?;
    let variants = variants(&gpt2_config)?;
    args.train.check(gpt2_config.context_len)?;
    let corpus = match &args.data {
        Some(path) => ByteCorpus::open(path)?,
        None => ByteCorpus::from_bytes(BuiltinText::English.text().as_bytes()),
    };
    corpus.ensure_fits_context(gpt2_config.context_len)?;
    let ValidationFlags { eval_interval, samples } = &args.validation;
    let (context_len, n_tokens) = (gpt2_config.context_len, corpus.train.len());
    let config = args.train.config(context_len, n_tokens, eval_interval.get(), samples)?;
    let setup = TrainingSetup { corpus: &corpus, config: &config, device: &device };
    let (mut rows, mut curves) = (Vec::new(), Vec::new());
    for (i, (name, variant)) in variants.iter().enumerate() {
        let cache_bytes = variant.cache_bytes_per_token();
        let mut row =
            VariantResults { name, parameters: 0, losses: vec![], tokens_per_s: 0., cache_bytes };
        for seed in (args.compute.seed..).take(args.seeds.get()) {
            println!("== {name}, seed {seed}");
            let folder = args.out.join(format!("{}-seed-{seed}", i + 1));
            let curve = setup.run(variant, seed, &folder, &mut row)?;
            if row.losses.len() == 1 {
                curves.push(curve.with_name(*name));
            }
        }
        rows.push(row);
        write_results(&args.out, &rows, &curves)?;
    }
    print!("\n{}", markdown_table(&rows));
    println!("\nIn {}: table.md, results.json, loss.svg, one folder per run", args.out.display());
    Ok(())
}

/// Writes the results of the models trained so far.
fn write_results(folder: &Path, rows: &[VariantResults], curves: &[Curve]) -> Result<()> {
    atomic_file::write(&folder.join("table.md"), markdown_table(rows).as_bytes())?;
    atomic_file::write(&folder.join("results.json"), format!("{:#}\n", json!(rows)).as_bytes())?;
    loss_curve::write_svg(&folder.join("loss.svg"), &curves.iter().collect::<Vec<_>>())
}
