//! `part_4 train`: trains a model on text into a run folder, or resumes the run in it.

use std::path::Path;

use anyhow::{Result, ensure};
use candle_core::{DType, Device};
use datasets::Dataset;
use experiment::flags::Optim;
use experiment::machine::gemm_peak;
use experiment::{RunLogConfig, RunSetup, training_memory};
use model_io::{LoadMode, ModelConfig};
use modern::Checkpoint;
use ranks::Ranks;
use tensor_core::precision::units_note;

use super::arguments::TrainArgs;
use super::run_data::{keep_tokens, open_data};
use crate::run_defaults::schedule_settings;
use crate::{LrSchedule, PretrainState, TrainConfig, train};

/// Settings of this part that may change on `--resume`, beside paths: they only affect the output.
const OVERRIDABLE_ON_RESUME: [&str; 7] =
    ["eval_windows", "sample_interval", "sample_len", "temperature", "tokenizer", "top_k", "top_p"];

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    args.check()?;
    let device = args.run.compute.open_device()?;
    let inputs = [("--data", Some(&*args.data)), ("--model", args.model.as_deref().map(Path::new))];
    let mut setup = RunSetup::new_on_ranks(args, &args.run, &OVERRIDABLE_ON_RESUME, &inputs)?;
    let mode = LoadMode::Training(DType::F32);
    let initial = args.model.as_deref().map(|model| Checkpoint::open(model, mode, &device));
    let initial = initial.transpose()?;
    let model =
        initial.as_ref().map_or_else(|| args.model_config(), |it| Ok(*it.model.config()))?;
    let (window_len, context_len) = (args.size.context_len, model.context_len);
    ensure!(
        window_len <= context_len,
        "--context-len {window_len}: the model's context is {context_len} tokens"
    );
    // A lower bound: the vocabulary of a new tokenizer is not known yet.
    let optim = args.optimization.optimizer.optim;
    training_memory::ensure_fits_in_memory(model.parameter_count(), optim, &device)?;
    let tokenizer = initial.as_ref().map(|initial| &initial.tokenizer);
    let (mut data, new_tokens) = open_data(args, &setup, tokenizer)?;
    let defaults = args.run_defaults(model.parameter_count(), data.train.len());
    let config = args.train_config(&defaults)?;
    let LrSchedule { total_steps, warmup_steps, .. } = config.schedule;
    setup.resolve(schedule_settings(&config.schedule, config.batch_size))?;
    ensure_enough_tokens(&data, window_len)?;
    let mut state = match initial {
        Some(initial) => {
            PretrainState::continued(initial, window_len, config.optimizer, config.dtype)?
        }
        None => new_state(&data, model, &config, optim, &device)?,
    };
    setup.create_folder()?;
    if let Some(tokens) = new_tokens {
        data = keep_tokens(tokens, setup.out)?;
    }
    let data_id = data.sha256();
    let peak = gemm_peak(config.dtype, &device)? * Ranks::of_process()?.world_size() as f64;
    let mfu = state.config.training_flops_per_token() / peak;
    let log = RunLogConfig {
        mfu_per_token_per_s: Some(mfu),
        ..RunLogConfig::losses(total_steps, warmup_steps, args.run.metrics.log_interval.get())
    };
    let mut log = setup.open_log(log, |checkpoint| state.restore(checkpoint, &data_id))?;
    print_run_summary(&state, &data, &config);
    println!("{}", defaults.summary(&config.schedule));
    let (run, model_folder) = (setup.run(&data_id)?, setup.out.join("model"));
    let validation = args.validation_config(defaults.eval_interval(total_steps));
    train(&mut state, &data, &config, &validation, &model_folder, &run, &mut log)?;
    let tokens_per_second = log.finish()?; // ends the progress line before the report is printed
    let progress = &state.train.progress;
    if let Some(folder) = setup.last_model_folder(progress)? {
        state.save_model(&folder, &data.tokenizer)?;
    }
    let result = state.train.result(tokens_per_second);
    setup.print_report("part_4", progress, tokens_per_second, "model", result);
    Ok(())
}

fn ensure_enough_tokens(data: &Dataset, window_len: usize) -> Result<()> {
    let (n_train, n_validation) = (data.train.len(), data.validation.len());
    ensure!(
        n_train > window_len && n_validation > 1,
        "too few tokens for --context-len {window_len}: {n_train} for training, {n_validation} for \
         validation"
    );
    Ok(())
}

/// State of a new run of `model`, which gets the vocabulary of `data`.
fn new_state(
    data: &Dataset,
    model: ModelConfig,
    config: &TrainConfig,
    optim: Optim,
    device: &Device,
) -> Result<PretrainState> {
    let model = ModelConfig { vocab_size: data.tokenizer.vocab_size(), ..model };
    training_memory::ensure_fits_in_memory(model.parameter_count(), optim, device)?;
    PretrainState::new(model, config.optimizer, config.dtype, config.seed, device)
}

/// Prints the sizes of the model and the data.
fn print_run_summary(state: &PretrainState, data: &Dataset, config: &TrainConfig) {
    let (train, validation) = (&data.train, &data.validation);
    println!(
        "{} parameters, vocabulary of {}{}",
        state.train.parameters.n_parameters(),
        data.tokenizer.vocab_size(),
        units_note(config.dtype, state.train.parameters.device())
    );
    println!(
        "{} training tokens in {} documents, {} validation tokens in {}",
        train.len(),
        train.n_documents(),
        validation.len(),
        validation.n_documents()
    );
}
