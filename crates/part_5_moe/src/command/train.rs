//! `part_5 train`: dense and MoE models with equal FLOPs per token, on the same text and batches
//! for the same number of steps.

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use experiment::program::ensure_usage;
use experiment::{Interrupt, Run, RunLog, training_memory};
use model_io::ModelConfig;
use modern::GptModern;
use modern::flags::byte_level_config;
use serde_json::{Value, json};
use tensor_core::Parameters;
use tiny_gpt::{ByteCorpus, LanguageModel};

use super::arguments::TrainArgs;
use super::comparison::{ComparisonRow, table, write_results};
use crate::load_monitor::{max_load_ratio, measure_loads};
use crate::model::is_selection_bias;
use crate::{GptMoe, MoeConfig, RouterTrainingConfig, TrainConfig, model_folder, train};

/// Settings and data that all runs share.
struct Comparison<'a> {
    args: &'a TrainArgs,
    dense: ModelConfig,
    train: tiny_gpt::TrainConfig,
    corpus: ByteCorpus,
    device: Device,
}

pub(crate) fn run(args: &TrainArgs) -> Result<()> {
    let dense = byte_level_config(&args.size)?;
    let message = "--dropout must be 0: these models do not use dropout";
    ensure_usage(args.size.dropout == 0., message)?;
    let models = &args.load_balancing.models;
    let (e, k) = (args.experts, args.experts_per_token);
    let configs = models.iter().map(|model| model.config(&dense, e, k));
    let configs: Vec<Option<MoeConfig>> = configs.collect::<Result<_>>()?;
    ensure_usage(args.load_balancing.router_jitter < 1., "--router-jitter must be below 1")?;
    let has_duplicate = (1..models.len()).any(|i| models[..i].contains(&models[i]));
    ensure_usage(!has_duplicate, "--models names a model twice")?;
    let train = args.train.config(dense.context_len, &args.validation)?;
    let device = args.compute.open_device()?;
    let mut rows = Vec::with_capacity(models.len());
    for (&model, config) in models.iter().zip(&configs) {
        let parameters = config.map_or(dense.parameter_count(), |moe| moe.parameter_count());
        let active = config.map_or(parameters, |moe| moe.active_parameter_count());
        training_memory::ensure_fits_in_memory(parameters, &device)?;
        rows.push(ComparisonRow::new(model, parameters, active));
    }
    let corpus = ByteCorpus::open(&args.data)?;
    corpus.ensure_fits_context(dense.context_len)?;
    let comparison = Comparison { args, dense, train, corpus, device };
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("creating {}", args.out.display()))?;
    comparison.run_all(&configs, &mut rows)?;
    let out = args.out.display();
    print!("\n{}", table(&rows));
    println!("\nIn {out}: table.md, results.json, the plots, and a run folder per model");
    if args.json {
        println!("{}", json!({ "models": rows }));
    }
    Ok(())
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
        let folder = self.args.out.join(row.model.folder_name(seed));
        let config_json = model_io::config_json::to_json(&self.dense);
        let log = &mut self.create_log(&folder, seed, &config_json)?;
        let run = &Run { interrupt: Interrupt::listen()?, ..Run::default() };
        let (corpus, config, saved) = (&self.corpus, &self.train, folder.join("model"));
        let best =
            tiny_gpt::train(&model, &parameters, corpus, config, seed, Some(&saved), run, log)?;
        if !run.interrupt.is_requested() {
            record_result(row, log, best.loss);
        }
        Ok(run.interrupt.is_requested())
    }

    /// Trains an MoE model and returns whether it was interrupted.
    fn train_moe(&self, config: &MoeConfig, seed: u64, row: &mut ComparisonRow) -> Result<bool> {
        let flags = &self.args.load_balancing;
        let (jitter, capacity_factor) = (flags.router_jitter, flags.capacity_factor);
        let router_training = RouterTrainingConfig { jitter, capacity_factor };
        let mut parameters = Parameters::seeded(seed, DType::F32, &self.device);
        let model = GptMoe::new_for_training(config, parameters.root(), router_training)?;
        parameters.freeze(is_selection_bias);
        let load_balancing = row.model.load_balancing(flags.aux_loss_coef, flags.z_loss_coef);
        let mut config_json = model_folder::to_json(config);
        config_json["balancing"] = json!(load_balancing);
        config_json["strain"] = json!(router_training);
        let folder = self.args.out.join(row.model.folder_name(seed));
        let log = &mut self.create_log(&folder, seed, &config_json)?;
        let run = &Run { interrupt: Interrupt::listen()?, ..Run::default() };
        let config = TrainConfig { base: self.train, load_balancing };
        let (corpus, saved) = (&self.corpus, folder.join("model"));
        let outcome = train(&model, &parameters, corpus, &config, seed, Some(&saved), run, log)?;
        if run.interrupt.is_requested() {
            return Ok(true);
        }
        let inference = model.for_inference(&parameters)?;
        let loads = measure_loads(&inference, &self.corpus.validation, self.train.batch_size)?;
        row.max_over_mean.push(max_load_ratio(&loads));
        row.dropped.extend(capacity_factor.map(|_| outcome.dropped_fraction));
        if row.losses.is_empty() {
            row.load_curve = outcome.max_load_curve.with_name(row.model.label());
        }
        record_result(row, log, outcome.best_eval.loss);
        Ok(run.interrupt.is_requested())
    }

    fn create_log(&self, folder: &Path, seed: u64, model: &Value) -> Result<RunLog> {
        let settings = json!({
            "data": self.args.data, "seed": seed, "device": self.args.compute.device.to_string(),
            "model": model, "train": self.train,
        });
        RunLog::create(self.train.log_config(), folder, &settings)
    }
}

fn record_result(row: &mut ComparisonRow, log: &RunLog, loss: f64) {
    if row.losses.is_empty() {
        row.loss_curve = log.validation_curve().with_name(row.model.label());
    }
    row.losses.push(loss);
    row.tokens_per_s.push(log.tokens_per_second());
}
