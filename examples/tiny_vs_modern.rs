//! What does each modern part buy? Part 2's model, then with one part of part 3 at a time, then with all of them, on the
//! same data, batches and budget.
//!
//!     cargo run --release --example tiny_vs_modern -- --data shakespeare.txt --seeds 3
//!
//! Leaves `runs/tiny_vs_modern/` with a folder per run, `table.md`, `results.json` and `loss.svg`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, ensure};
use candle_core::DType;
use clap::Parser;
use modern::config::{Mlp, Norm, Position};
use modern::{GptModern, ModelConfig};
use serde::Serialize;
use serde_json::json;
use tensor_core::ops::Gelu;
use tensor_core::{Parameters, atomic_file};
use tiny_gpt::builtin_text::BuiltinText;
use tiny_gpt::flags::{ComputeFlags, SizeFlags, TrainFlags};
use tiny_gpt::loss_curve::{self, Curve};
use tiny_gpt::{Corpus, Gpt, GptConfig, LanguageModel, TrainConfig, command, train};

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

/// Compare part 2's model with part 3's, one change at a time, on the same data and budget.
#[derive(Parser)]
#[command(name = "tiny_vs_modern", version)]
struct Args {
    /// A text file [default: the built-in stories]
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Where everything goes
    #[arg(long, value_name = "DIR", default_value = "runs/tiny_vs_modern")]
    out: PathBuf,
    /// Runs of each model, from different seeds
    #[arg(long, value_name = "N", default_value = "1")]
    seeds: NonZeroUsize,
    #[command(flatten)]
    train: TrainFlags,
    #[command(flatten)]
    size: SizeFlags,
    #[command(flatten)]
    compute: ComputeFlags,
}

/// A model to compare.
enum Variant {
    Tiny(GptConfig),
    Modern(ModelConfig),
}

/// What became of a variant.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    parameters: usize,
    /// Best validation loss of each seed, nats per byte.
    losses: Vec<f64>,
    /// Of the last seed.
    tokens_per_s: f64,
    /// Of keys and values, per token of a text.
    cache_bytes: usize,
}

fn main() -> ExitCode {
    command::run(compare)
}

/// Part 2's model, and what it becomes: each change alone, all, and all with half the key heads.
fn variants(tiny: &GptConfig) -> Result<Vec<(&'static str, Variant)>> {
    let (n_head, c) = (tiny.block.n_head, tiny.block.n_embd);
    let modern = ModelConfig::bytes(tiny.block_size, tiny.block.n_layer, n_head, c);
    let mut old = modern;
    old.norm = Norm::Layer { eps: 1e-5 };
    old.attention.position = Position::Learned;
    old.mlp = Mlp::Gelu { width: 4 * c, form: Gelu::Tanh };
    let mut rope = old;
    rope.attention.position = modern.attention.position;
    let mut grouped = modern;
    grouped.attention.n_kv_head = n_head.div_ceil(2);
    let mut all = vec![
        ("part 2: LayerNorm, learned positions, GELU, biases", Variant::Tiny(*tiny)),
        ("RMSNorm, no attention biases", Variant::Modern(ModelConfig { norm: modern.norm, ..old })),
        ("RoPE, no attention biases", Variant::Modern(rope)),
        ("SwiGLU, no attention biases", Variant::Modern(ModelConfig { mlp: modern.mlp, ..old })),
        ("all three", Variant::Modern(modern)),
    ];
    if n_head % 2 == 0 {
        all.push(("all three, half the key heads", Variant::Modern(grouped)));
    }
    for (_, variant) in &all {
        if let Variant::Modern(config) = variant {
            command::usage(config.check())?;
        }
    }
    Ok(all)
}

fn compare(args: Args) -> Result<()> {
    let (tiny, device) = (args.size.config()?, args.compute.open()?);
    let fair = tiny.block.dropout == 0.;
    command::usage(if fair { Ok(()) } else { Err("--dropout: part 3's model has none") })?;
    let variants = variants(&tiny)?;
    let config = args.train.config(tiny.block_size)?;
    let corpus = match &args.data {
        Some(path) => Corpus::open(path)?,
        None => Corpus::from_bytes(BuiltinText::English.text().as_bytes()),
    };
    corpus.check(tiny.block_size)?;
    let (mut rows, mut curves) = (Vec::new(), Vec::new());
    for (i, (name, variant)) in variants.iter().enumerate() {
        let mut row = Row {
            name,
            parameters: 0,
            losses: Vec::new(),
            tokens_per_s: 0.,
            cache_bytes: cache_bytes(variant),
        };
        for seed in (args.compute.seed..).take(args.seeds.get()) {
            println!("== {name}, seed {seed}");
            let run = Run {
                folder: &args.out.join(format!("{}-seed-{seed}", i + 1)),
                corpus: &corpus,
                config: &config,
                flags: &args.train,
                seed,
            };
            let mut parameters = Parameters::seeded(seed, DType::F32, &device);
            let curve = match variant {
                Variant::Tiny(config) => {
                    let model = Gpt::new(config, parameters.root())?;
                    run.train(&model, &parameters, &mut row)?
                }
                Variant::Modern(config) => {
                    let model = GptModern::new(config, parameters.root())?;
                    run.train(&model, &parameters, &mut row)?
                }
            };
            if row.losses.len() == 1 {
                curves.push(curve.renamed(*name));
            }
        }
        rows.push(row);
        keep(&args.out, &rows, &curves)?;
    }
    print!("\n{}", table(&rows));
    println!("\nIn {}: table.md, results.json, loss.svg, and a folder per run", args.out.display());
    Ok(())
}

/// What all models have in common.
struct Run<'a> {
    folder: &'a Path,
    corpus: &'a Corpus,
    config: &'a TrainConfig,
    flags: &'a TrainFlags,
    seed: u64,
}

impl Run<'_> {
    /// Trains the model, notes what came of it, and gives its validation losses.
    fn train(
        &self,
        model: &impl LanguageModel,
        parameters: &Parameters,
        row: &mut Row,
    ) -> Result<Curve> {
        let Self { folder, corpus, config, flags, seed } = *self;
        let settings = json!({ "model": row.name, "seed": seed, "train": config });
        let mut log = flags.log()?.record(folder, &settings)?;
        let best = train(model, parameters, corpus, config, seed, &mut log)?;
        ensure!(!log.interrupted(), "stopped; what was finished is in the run folder");
        row.parameters = parameters.count();
        row.losses.push(best.loss);
        row.tokens_per_s = log.tokens_per_second();
        Ok(log.validation_curve().clone())
    }
}

/// Bytes of keys and values that a token leaves in a cache of f32.
fn cache_bytes(variant: &Variant) -> usize {
    let (n_layer, width) = match variant {
        Variant::Tiny(config) => (config.block.n_layer, config.block.n_embd),
        Variant::Modern(config) => {
            (config.n_layer, config.attention.n_kv_head * config.attention.head_dim)
        }
    };
    2 * n_layer * width * DType::F32.size_in_bytes()
}

/// The rows as a table in Markdown.
fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| model | parameters | validation loss, nats per byte | tokens/s in training | cache, bytes per token |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    for Row { name, parameters, losses, tokens_per_s, cache_bytes } in rows {
        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
        let far = losses.iter().map(|loss| (loss - mean).abs()).fold(0., f64::max);
        let spread = if losses.len() > 1 { format!(" ± {far:.4}") } else { String::new() };
        text += &format!(
            "| {name} | {parameters} | {mean:.4}{spread} | {tokens_per_s:.0} | {cache_bytes} |\n"
        );
    }
    text
}

/// Writes what is known so far.
fn keep(folder: &Path, rows: &[Row], curves: &[Curve]) -> Result<()> {
    atomic_file::write(&folder.join("table.md"), table(rows).as_bytes())?;
    atomic_file::write(&folder.join("results.json"), format!("{:#}\n", json!(rows)).as_bytes())?;
    loss_curve::write(&folder.join("loss.svg"), &curves.iter().collect::<Vec<_>>())
}
