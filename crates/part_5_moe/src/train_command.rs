//! `part_5 train`: dense and MoE models with equal FLOPs per token, on the same text and batches
//! for the same number of steps.

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use experiment::program::as_usage_error;
use experiment::training_memory;
use model_io::ModelConfig;
use modern::GptModern;
use moe::load_monitor::{max_load_ratio, measure_loads};
use moe::model::is_selection_bias;
use moe::{GptMoe, MoeConfig, RouterTrainingConfig, config_json};
use serde_json::json;
use tensor_core::Parameters;
use tiny_gpt::{ByteCorpus, LanguageModel, TrainLog};

use crate::arguments::TrainArgs;
use crate::comparison::{ComparisonRow, table, write_results};
use crate::variant::Variant;

/// Settings and data that all runs share.
struct Comparison<'a> {
    args: &'a TrainArgs,
    dense: ModelConfig,
    train: tiny_gpt::TrainConfig,
    corpus: ByteCorpus,
    device: Device,
}

pub(crate) fn run(args: &TrainArgs) -> Result<()> {
    let dense = dense_config(args)?;
    let configs = args.models.iter().map(|model| model.config(&dense, args));
    let configs: Vec<Option<MoeConfig>> = configs.collect::<Result<_>>()?;
    as_usage_error(if args.router_jitter < 1. {
        Ok(())
    } else {
        Err("--router-jitter must be below 1")
    })?;
    let has_duplicate = (1..args.models.len()).any(|i| args.models[..i].contains(&args.models[i]));
    as_usage_error(if has_duplicate { Err("--models names a model twice") } else { Ok(()) })?;
    let train = args.train.config(dense.context_len)?;
    let device = args.compute.open_device()?;
    let count = |config: &Option<MoeConfig>| match config {
        Some(config) => (config.parameter_count(), config.active_parameter_count()),
        None => (dense.parameter_count(), dense.parameter_count()),
    };
    for config in &configs {
        training_memory::ensure_fits_in_memory(count(config).0, &device)?;
    }
    let corpus = ByteCorpus::open(&args.data)?;
    corpus.ensure_fits_context(dense.context_len)?;
    let comparison = Comparison { args, dense, train, corpus, device };
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("creating {}", args.out.display()))?;
    let new_row = |(&model, config)| {
        let (parameters, active) = count(config);
        ComparisonRow::new(model, parameters, active)
    };
    let mut rows: Vec<ComparisonRow> = args.models.iter().zip(&configs).map(new_row).collect();
    comparison.run_all(&configs, &mut rows)?;
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
    as_usage_error(if block.dropout == 0. {
        Ok(())
    } else {
        Err("--dropout must be 0: these models do not use dropout")
    })?;
    Ok(ModelConfig::byte_level(gpt.context_len, block.n_layer, block.n_head, block.n_embd))
}

impl Comparison<'_> {
    /// Trains all models with all seeds and records the results in `rows`, until it is interrupted.
    fn run_all(&self, configs: &[Option<MoeConfig>], rows: &mut [ComparisonRow]) -> Result<()> {
        // The models of a seed run one after the other, so that a machine that slows down affects
        // all models alike.
        for seed in (self.args.compute.seed..).take(self.args.seeds.get()) {
            for (i, config) in configs.iter().enumerate() {
                let name = rows[i].model.label();
                println!("== {name}, seed {seed}");
                let interrupted = match config {
                    Some(config) => self.train_moe(config, seed, &mut rows[i])?,
                    None => self.train_dense(seed, &mut rows[i])?,
                };
                write_results(&self.args.out, rows)?; // after each run, as a later one may fail
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

    /// Trains the dense model and returns whether it was interrupted.
    fn train_dense(&self, seed: u64, row: &mut ComparisonRow) -> Result<bool> {
        let mut parameters = Parameters::seeded(seed, DType::F32, &self.device);
        let model = GptModern::new(&self.dense, parameters.root())?;
        let config_json = model_io::config_json::to_json(&self.dense);
        let mut log = self.open_log(seed, row.model, &config_json)?;
        let best = tiny_gpt::train(&model, &parameters, &self.corpus, &self.train, seed, &mut log)?;
        if !log.is_interrupted() {
            record_result(row, &log, best.loss);
        }
        Ok(log.is_interrupted())
    }

    /// Trains an MoE model and returns whether it was interrupted.
    fn train_moe(&self, config: &MoeConfig, seed: u64, row: &mut ComparisonRow) -> Result<bool> {
        let TrainArgs { router_jitter: jitter, capacity_factor, .. } = *self.args;
        let router_training = RouterTrainingConfig { jitter, capacity_factor };
        let mut parameters = Parameters::seeded(seed, DType::F32, &self.device);
        let model = GptMoe::new_for_training(config, parameters.root(), router_training)?;
        parameters.freeze(is_selection_bias);
        let load_balancing = row.model.load_balancing(self.args);
        let mut config_json = config_json::to_json(config);
        config_json["balancing"] = json!(load_balancing);
        config_json["strain"] = json!(router_training);
        let mut log = self.open_log(seed, row.model, &config_json)?;
        let config = moe::TrainConfig { base: self.train, load_balancing };
        let outcome = moe::train(&model, &parameters, &self.corpus, &config, seed, &mut log)?;
        if log.is_interrupted() {
            return Ok(true);
        }
        let inference = model.for_inference(&parameters)?;
        let loads = measure_loads(&inference, &self.corpus.validation, self.train.batch_size)?;
        row.max_over_mean.push(max_load_ratio(&loads));
        row.dropped.extend(capacity_factor.map(|_| outcome.dropped_fraction));
        if row.losses.is_empty() {
            row.load_curve = outcome.max_load_curve.with_name(row.model.label());
        }
        record_result(row, &log, outcome.best_eval.loss);
        Ok(log.is_interrupted())
    }

    fn open_log(&self, seed: u64, model: Variant, config: &serde_json::Value) -> Result<TrainLog> {
        let settings = json!({
            "data": self.args.data, "seed": seed, "device": self.args.compute.device.to_string(),
            "model": config, "train": self.train,
        });
        self.args
            .train
            .train_log()?
            .with_run_folder(&self.args.out.join(model.folder_name(seed)), &settings)
    }
}

fn record_result(row: &mut ComparisonRow, log: &TrainLog, loss: f64) {
    if row.losses.is_empty() {
        row.loss_curve = log.validation_curve().with_name(row.model.label());
    }
    row.losses.push(loss);
    row.tokens_per_s.push(log.tokens_per_second());
}
