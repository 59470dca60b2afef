//! `part_5 train`: dense and MoE models with equal FLOPs per token, on the same text and batches
//! for the same number of steps. Each model of each seed has a run folder; a comparison is resumed
//! with its finished runs as they are.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use candle_core::{DType, Device};
use experiment::program::ensure_usage;
use experiment::run_folder::{lock_run, write_settings};
use experiment::settings::{check_resumable, settings_of};
use experiment::{Checkpoints, RunFolder, RunLogConfig, RunSetup, training_memory};
use model_io::ModelConfig;
use modern::GptModern;
use modern::flags::byte_level_config;
use serde_json::{Value, json};
use tensor_core::{Parameters, json_file, sha256};
use tiny_gpt::ByteCorpus;

use super::arguments::TrainArgs;
use super::comparison::{ComparisonRow, RunResult, table, write_results};
use super::variant::Variant;
use crate::load_monitor::{max_load_ratio, measure_loads};
use crate::model::is_selection_bias;
use crate::{
    GptMoe, MoeConfig, MoeTrainState, RoutedModel, RouterTrainingConfig, TrainConfig, model_folder,
    train,
};

/// Steps between evaluations without `--eval-interval`.
const EVAL_INTERVAL: usize = 200;
/// File of a finished run with its line of the table.
const RESULT: &str = "result.json";
/// File of a run with its architecture, load balancing, jitter and capacity.
const VARIANT: &str = "variant.json";
/// Settings that a resumed comparison may change: they make it longer, or affect only the output.
const OVERRIDABLE_ON_RESUME: [&str; 7] =
    ["models", "sample_interval", "sample_len", "seeds", "temperature", "top_k", "top_p"];

/// Settings and data that all runs share.
struct Comparison<'a> {
    args: &'a TrainArgs,
    dense: ModelConfig,
    train: tiny_gpt::TrainConfig,
    corpus: ByteCorpus,
    data_id: String,
    device: Device,
}

pub(crate) fn run(args: &TrainArgs) -> Result<()> {
    let dense = byte_level_config(&args.size)?;
    let message = "--dropout must be 0: these models do not use dropout";
    ensure_usage(args.size.dropout == 0., message)?;
    let models = &args.load_balancing.models;
    let configs = models.iter().map(|model| model.config(&dense, &args.router));
    let configs: Vec<Option<MoeConfig>> = configs.collect::<Result<_>>()?;
    ensure_usage(args.load_balancing.router_jitter < 1., "--router-jitter must be below 1")?;
    let has_duplicate = (1..models.len()).any(|i| models[..i].contains(&models[i]));
    ensure_usage(!has_duplicate, "--models names a model twice")?;
    args.train.check(dense.context_len)?;
    let device = args.run.compute.open_device()?;
    let mut rows = Vec::with_capacity(models.len());
    for (&model, config) in models.iter().zip(&configs) {
        let parameters = config.map_or(dense.parameter_count(), |moe| moe.parameter_count());
        let active = config.map_or(parameters, |moe| moe.active_parameter_count());
        let optim = args.train.optimizer.optim;
        training_memory::ensure_fits_in_memory(parameters, optim, &device)?;
        rows.push(ComparisonRow::new(model, parameters, active));
    }
    let corpus = ByteCorpus::open(&args.data)?;
    corpus.ensure_fits_context(dense.context_len)?;
    let eval_interval = args.run.metrics.eval_interval.unwrap_or(EVAL_INTERVAL);
    let train =
        args.train.config(dense.context_len, corpus.train.len(), eval_interval, &args.samples)?;
    let data_id = data_id(&corpus);
    let comparison = Comparison { args, dense, train, corpus, data_id, device };
    let _lock = comparison.open_folder()?;
    comparison.run_all(&configs, &mut rows)?;
    let out = args.run.out.display();
    print!("\n{}", table(&rows));
    println!("\nIn {out}: table.md, results.json, the plots, and a run folder per model");
    if args.run.json {
        println!("{}", json!({ "models": rows }));
    }
    Ok(())
}

/// Id of the training data.
fn data_id(corpus: &ByteCorpus) -> String {
    let tokens = corpus.train.iter().chain(&corpus.validation);
    sha256::hash_bytes(&tokens.map(|&token| token as u8).collect::<Vec<u8>>())
}

impl Comparison<'_> {
    /// Creates the folder of a new comparison, or checks that of a resumed one; it is locked until
    /// the result is dropped.
    fn open_folder(&self) -> Result<std::fs::File> {
        let (args, out) = (self.args, &self.args.run.out);
        let mut settings = settings_of(args)?;
        if args.run.settings.resume {
            check_resumable::<TrainArgs>(out, &settings, &OVERRIDABLE_ON_RESUME)?;
        } else {
            RunFolder::ensure_input_not_overwritten(out, "--data", &args.data)?;
            RunFolder::create(out, &settings)?;
        }
        let lock = lock_run(out)?;
        (settings["steps"], settings["epochs"]) = (json!(self.train.steps), Value::Null);
        write_settings(out, &settings)?;
        Ok(lock)
    }

    /// Trains all models with all seeds and records the results in `rows`, until it is interrupted.
    fn run_all(&self, configs: &[Option<MoeConfig>], rows: &mut [ComparisonRow]) -> Result<()> {
        // The models of a seed run one after the other, so that a machine that slows down affects
        // all models alike.
        for seed in (self.args.run.compute.seed..).take(self.args.seeds.get()) {
            for (i, config) in configs.iter().enumerate() {
                let name = rows[i].model.label();
                println!("== {name}, seed {seed}");
                let result = match self.finished_result(rows[i].model, seed)? {
                    Some(result) => Some(result),
                    None => self.train_model(rows[i].model, config.as_ref(), seed)?,
                };
                let is_interrupted = result.is_none();
                result.into_iter().for_each(|result| rows[i].push(result));
                write_results(&self.args.run.out, rows)?; // after each run, as a later one may fail
                if is_interrupted {
                    println!(
                        "interrupted in {name}, seed {seed}: only finished runs are in the table; \
                         --resume goes on"
                    );
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn folder(&self, model: Variant, seed: u64) -> PathBuf {
        self.args.run.out.join(model.folder_name(seed))
    }

    /// Result of a run that an earlier start of this comparison has finished.
    fn finished_result(&self, model: Variant, seed: u64) -> Result<Option<RunResult>> {
        let path = self.folder(model, seed).join(RESULT);
        if !self.args.run.settings.resume || !path.exists() {
            return Ok(None);
        }
        let result: RunResult = serde_json::from_value(json_file::read(&path)?)?;
        ensure!(
            result.data_id == self.data_id,
            "{} was trained on other data than --data now holds",
            path.display()
        );
        let is_whole = result.steps == self.train.steps;
        if is_whole {
            println!("finished before");
        }
        Ok(is_whole.then_some(result))
    }

    /// Arguments of the run of one model and seed.
    fn args_of(&self, model: Variant, seed: u64) -> Result<TrainArgs> {
        let mut args = self.args.clone();
        args.load_balancing.models = vec![model];
        args.seeds = std::num::NonZeroUsize::MIN;
        args.run.out = self.folder(model, seed);
        args.run.compute.seed = seed;
        let checkpoints = args.run.out.join("checkpoints");
        let has_checkpoint =
            Checkpoints::new(checkpoints, args.run.save.keep_checkpoints).latest()?.is_some();
        args.run.settings.resume &= has_checkpoint;
        Ok(args)
    }

    /// Trains a model, dense without a `config`; `None` if it was interrupted.
    fn train_model(
        &self,
        variant: Variant,
        config: Option<&MoeConfig>,
        seed: u64,
    ) -> Result<Option<RunResult>> {
        let args = self.args_of(variant, seed)?;
        let flags = &args.load_balancing;
        let mut parameters = Parameters::seeded(seed, DType::F32, &self.device);
        let load_balancing = variant.load_balancing(flags.aux_loss_coef, flags.z_loss_coef);
        let Some(config) = config else {
            let model = GptModern::new(&self.dense, parameters.root())?;
            let description = model_io::config_json::to_json(&self.dense);
            let config = TrainConfig { base: self.train, load_balancing };
            let (_, result) = self.train_run(&args, &model, parameters, &config, &description)?;
            return write_result(&args, result);
        };
        let (jitter, capacity_factor) = (flags.router_jitter, flags.capacity_factor);
        let router_training = RouterTrainingConfig { jitter, capacity_factor };
        let model = GptMoe::new_for_training(config, parameters.root(), router_training)?;
        parameters.freeze(is_selection_bias);
        let mut description = model_folder::to_json(config);
        description["balancing"] = json!(load_balancing);
        description["strain"] = json!(router_training);
        let config = TrainConfig { base: self.train, load_balancing };
        let (state, result) = self.train_run(&args, &model, parameters, &config, &description)?;
        let Some(mut result) = result else { return Ok(None) };
        let inference = tiny_gpt::LanguageModel::for_inference(&model, &state.train.parameters)?;
        let loads = measure_loads(&inference, &self.corpus.validation, self.train.batch_size)?;
        result.max_over_mean = Some(max_load_ratio(&loads));
        result.dropped = capacity_factor.map(|_| state.progress.load_monitor.dropped_fraction());
        write_result(&args, Some(result))
    }

    /// Trains `model`, whose `description` its folder holds, in the run folder of `args`, or goes
    /// on with the run in it. The result is `None` if the run was stopped.
    fn train_run(
        &self,
        args: &TrainArgs,
        model: &impl RoutedModel,
        parameters: Parameters,
        config: &TrainConfig,
        description: &Value,
    ) -> Result<(MoeTrainState, Option<RunResult>)> {
        let (base, seed) = (&config.base, args.run.compute.seed);
        let mut state = MoeTrainState::new(parameters, base.optimizer, seed)?;
        let inputs = [("--data", Some(&*args.data))];
        let mut setup = RunSetup::new(args, &args.run, &OVERRIDABLE_ON_RESUME, &inputs)?;
        setup.resolve(json!({ "steps": base.steps, "epochs": null }))?;
        setup.create_folder()?;
        json_file::write(&setup.out.join(VARIANT), description)?;
        let log_interval = args.run.metrics.log_interval.get();
        let log = RunLogConfig::losses(base.steps, base.warmup_steps, log_interval);
        let mut log = setup.open_log(log, |checkpoint| state.restore(checkpoint, &self.data_id))?;
        let (run, saved) = (setup.run(&self.data_id)?, setup.out.join("model"));
        train(model, &mut state, &self.corpus, config, Some(&saved), &run, &mut log)?;
        let (speed, loss_curve) = (log.tokens_per_second(), log.validation_curve().clone());
        log.finish()?;
        if !setup.is_finished(&state.train.progress) {
            return Ok((state, None));
        }
        let outcome = state.outcome()?;
        let result = RunResult {
            steps: base.steps,
            data_id: self.data_id.clone(),
            loss: outcome.best_eval.loss,
            tokens_per_s: speed,
            max_over_mean: None,
            dropped: None,
            loss_curve: loss_curve.points().to_vec(),
            load_curve: outcome.max_load_curve.points().to_vec(),
        };
        Ok((state, Some(result)))
    }
}

/// Writes the `result` of a run, if it is finished, into its folder.
fn write_result(args: &TrainArgs, result: Option<RunResult>) -> Result<Option<RunResult>> {
    if let Some(result) = &result {
        json_file::write(&args.run.out.join(RESULT), result)?;
    }
    Ok(result)
}
