//! `part_5 train`: dense and mixed models of equal work per token, on the same text, batches and budget.

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use modern::{GptModern, ModelConfig};
use moe::model::moved_by_hand;
use moe::training::{loads_on, worst};
use moe::{GptMoe, MoeConfig, Strain, config_json};
use serde_json::json;
use tensor_core::Parameters;
use tiny_gpt::command::usage;
use tiny_gpt::{Corpus, LanguageModel, RunLog, training_memory};

use crate::arguments::TrainArgs;
use crate::comparison::{Curves, Row, keep, table};
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
    let (mut rows, mut curves) = (Vec::new(), Curves::default());
    for (&model, config) in args.models.iter().zip(&configs) {
        let (parameters, active) = count(config);
        rows.push(Row::new(model, parameters, active));
    }
    // Seed by seed, model by model, so that a machine that slows down slows all of them.
    for seed in (args.compute.seed..).take(args.seeds.get()) {
        for (row, config) in rows.iter_mut().zip(&configs) {
            println!("== {}, seed {seed}", row.model.name());
            match config {
                Some(config) => runs.experts(config, seed, row, &mut curves)?,
                None => runs.dense(seed, row, &mut curves)?,
            }
        }
    }
    keep(&args.out, &rows, &curves)?;
    let out = args.out.display();
    print!("\n{}", table(&rows));
    println!("\nIn {out}: table.md, results.json, loss.svg, load.svg, and a run folder per model");
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
    fn dense(&self, seed: u64, row: &mut Row, curves: &mut Curves) -> Result<()> {
        let mut parameters = Parameters::seeded(seed, DType::F32, &self.device);
        let model = GptModern::new(&self.dense, parameters.root())?;
        let about = modern::config_json::to_json(&self.dense);
        let mut log = self.log(seed, row.model, &about)?;
        let best = tiny_gpt::train(&model, &parameters, &self.corpus, &self.run, seed, &mut log)?;
        self.note(row, &log, best.loss, curves);
        Ok(())
    }

    fn experts(
        &self,
        config: &MoeConfig,
        seed: u64,
        row: &mut Row,
        curves: &mut Curves,
    ) -> Result<()> {
        let TrainArgs { jitter, capacity_factor, .. } = *self.args;
        let strain = Strain { jitter, capacity_factor };
        let mut parameters = Parameters::seeded(seed, DType::F32, &self.device);
        GptMoe::new(config, parameters.root())?;
        parameters.freeze(moved_by_hand);
        let model = GptMoe::strained(config, parameters.root(), strain)?;
        let balancing = row.model.balancing(self.args);
        let mut about = config_json::to_json(config);
        (about["balancing"], about["strain"]) = (json!(balancing), json!(strain));
        let mut log = self.log(seed, row.model, &about)?;
        let config = moe::TrainConfig { run: self.run, balancing };
        let found = moe::train(&model, &parameters, &self.corpus, &config, seed, &mut log)?;
        let loads = loads_on(
            &model.inference_twin(&parameters)?,
            &self.corpus.validation,
            self.run.batch_size,
        )?;
        row.max_over_mean.push(worst(&loads));
        row.dropped.push(found.dropped);
        if row.losses.is_empty() {
            curves.imbalance.push(found.imbalance.renamed(row.model.name()));
        }
        self.note(row, &log, found.best.loss, curves);
        Ok(())
    }

    fn log(&self, seed: u64, model: Variant, about: &serde_json::Value) -> Result<RunLog> {
        let settings = json!({
            "data": self.args.data, "seed": seed, "device": self.args.compute.device.to_string(),
            "model": about, "train": self.run,
        });
        self.args.train.log()?.record(&self.args.out.join(model.folder(seed)), &settings)
    }

    fn note(&self, row: &mut Row, log: &RunLog, loss: f64, curves: &mut Curves) {
        if row.losses.is_empty() {
            curves.losses.push(log.validation_curve().renamed(row.model.name()));
        }
        row.losses.push(loss);
        row.tokens_per_s.push(log.tokens_per_second());
    }
}
