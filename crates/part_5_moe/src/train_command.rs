//! `part_5 train`: dense and mixed models of equal work per token, on the same text, batches and budget.

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use modern::{GptModern, ModelConfig};
use moe::model::moved_by_hand;
use moe::watch::{loads_on, worst};
use moe::{GptMoe, MoeConfig, Strain, config_json};
use serde_json::json;
use tensor_core::Parameters;
use tiny_gpt::command::usage;
use tiny_gpt::{Corpus, LanguageModel, RunLog, training_memory};

use crate::arguments::TrainArgs;
use crate::comparison::{Row, keep, table};
use crate::variant::Variant;

/// What all runs have in common.
struct Runs<'a> {
    args: &'a TrainArgs,
    dense: ModelConfig,
    run: tiny_gpt::TrainConfig,
    corpus: Corpus,
    device: Device,
}

pub(crate) fn run(args: &TrainArgs) -> Result<()> {
    let dense = dense_config(args)?;
    let configs = args.models.iter().map(|model| model.config(&dense, args));
    let configs: Vec<Option<MoeConfig>> = configs.collect::<Result<_>>()?;
    usage(if args.jitter < 1. { Ok(()) } else { Err("--jitter must be below 1") })?;
    let twice = (1..args.models.len()).any(|i| args.models[..i].contains(&args.models[i]));
    usage(if twice { Err("--models names a model twice") } else { Ok(()) })?;
    let run = args.train.config(dense.context)?;
    let device = args.compute.open()?;
    let count = |config: &Option<MoeConfig>| match config {
        Some(config) => (config.parameter_count(), config.active_parameter_count()),
        None => (dense.parameter_count(), dense.parameter_count()),
    };
    for config in &configs {
        training_memory::check(count(config).0, &device)?;
    }
    let corpus = Corpus::open(&args.data)?;
    corpus.check(dense.context)?;
    let runs = Runs { args, dense, run, corpus, device };
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("creating {}", args.out.display()))?;
    let new_row = |(&model, config)| {
        let (parameters, active) = count(config);
        Row::new(model, parameters, active)
    };
    let mut rows: Vec<Row> = args.models.iter().zip(&configs).map(new_row).collect();
    runs.all(&configs, &mut rows)?;
    let out = args.out.display();
    print!("\n{}", table(&rows));
    println!("\nIn {out}: table.md, results.json, the plots, and a run folder per model");
    if args.json {
        println!("{}", json!({ "models": rows }));
    }
    Ok(())
}

fn dense_config(args: &TrainArgs) -> Result<ModelConfig> {
    let gpt = args.size.config()?;
    let block = gpt.block;
    usage(if block.dropout == 0. { Ok(()) } else { Err("--dropout: these models have none") })?;
    Ok(ModelConfig::bytes(gpt.block_size, block.n_layer, block.n_head, block.n_embd))
}

impl Runs<'_> {
    /// Runs everything and notes it in `rows`, until it is interrupted.
    fn all(&self, configs: &[Option<MoeConfig>], rows: &mut [Row]) -> Result<()> {
        // Seed by seed, model by model, so that a machine that slows down slows all of them.
        for seed in (self.args.compute.seed..).take(self.args.seeds.get()) {
            for (i, config) in configs.iter().enumerate() {
                let name = rows[i].model.name();
                println!("== {name}, seed {seed}");
                let interrupted = match config {
                    Some(config) => self.experts(config, seed, &mut rows[i])?,
                    None => self.dense(seed, &mut rows[i])?,
                };
                keep(&self.args.out, rows)?; // what comes later may fail
                if interrupted {
                    println!(
                        "interrupted in {name}, seed {seed}: only finished runs are in the table"
                    );
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whether it was interrupted.
    fn dense(&self, seed: u64, row: &mut Row) -> Result<bool> {
        let mut parameters = Parameters::seeded(seed, DType::F32, &self.device);
        let model = GptModern::new(&self.dense, parameters.root())?;
        let about = modern::config_json::to_json(&self.dense);
        let mut log = self.log(seed, row.model, &about)?;
        let best = tiny_gpt::train(&model, &parameters, &self.corpus, &self.run, seed, &mut log)?;
        if !log.interrupted() {
            note(row, &log, best.loss);
        }
        Ok(log.interrupted())
    }

    /// Whether it was interrupted.
    fn experts(&self, config: &MoeConfig, seed: u64, row: &mut Row) -> Result<bool> {
        let TrainArgs { jitter, capacity_factor, .. } = *self.args;
        let strain = Strain { jitter, capacity_factor };
        let mut parameters = Parameters::seeded(seed, DType::F32, &self.device);
        let model = GptMoe::strained(config, parameters.root(), strain)?;
        parameters.freeze(moved_by_hand);
        let balancing = row.model.balancing(self.args);
        let mut about = config_json::to_json(config);
        (about["balancing"], about["strain"]) = (json!(balancing), json!(strain));
        let mut log = self.log(seed, row.model, &about)?;
        let config = moe::TrainConfig { run: self.run, balancing };
        let found = moe::train(&model, &parameters, &self.corpus, &config, seed, &mut log)?;
        if log.interrupted() {
            return Ok(true);
        }
        let inference = model.inference_twin(&parameters)?;
        let loads = loads_on(&inference, &self.corpus.validation, self.run.batch_size)?;
        row.max_over_mean.push(worst(&loads));
        row.dropped.extend(capacity_factor.map(|_| found.dropped));
        if row.losses.is_empty() {
            row.load_curve = found.imbalance.renamed(row.model.name());
        }
        note(row, &log, found.best.loss);
        Ok(log.interrupted())
    }

    fn log(&self, seed: u64, model: Variant, about: &serde_json::Value) -> Result<RunLog> {
        let settings = json!({
            "data": self.args.data, "seed": seed, "device": self.args.compute.device.to_string(),
            "model": about, "train": self.run,
        });
        self.args.train.log()?.record(&self.args.out.join(model.folder(seed)), &settings)
    }
}

fn note(row: &mut Row, log: &RunLog, loss: f64) {
    if row.losses.is_empty() {
        row.loss_curve = log.validation_curve().renamed(row.model.name());
    }
    row.losses.push(loss);
    row.tokens_per_s.push(log.tokens_per_second());
}
