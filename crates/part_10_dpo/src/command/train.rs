//! `part_10 train`: trains a policy on preferences in a run folder, or resumes a run.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::DType;
use experiment::metrics_writer::Plot;
use experiment::train_state::parameters_sha256;
use experiment::{Alarm, RunLog, RunLogConfig, RunSetup};
use modern::{Checkpoint, GptModern};
use ppo::reference::open_reference;
use ranks::Ranks;
use scaling::LrSchedule;
use scaling::run_defaults::resolved_settings;
use sft::{InitialModel, ModelSaver, save_run_end};
use tensor_core::Parameters;

use super::arguments::{SFT_STEPS, TrainArgs};
use crate::preference_example::{
    PreferenceDataset, PreferenceExample, PreferenceRow, PreferenceType, TokenizationCounts,
    examples_sha256, mismatched, tokenize,
};
use crate::ref_cache::RefCache;
use crate::source::{FilteredRows, PreferenceRows};
use crate::step::DpoPolicy;
use crate::training::train;
use crate::validator::DpoValidator;

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    args.check()?;
    let seed = args.run.compute.seed;
    let (device, dtype) = (args.run.compute.open_device()?, args.optimization.dtype.dtype());
    let inputs =
        [("--model", args.model.model.as_deref()), ("--reference", args.reference.as_deref())];
    let mut setup = RunSetup::new_on_ranks(args, &args.run, &["chat_date"], &inputs)?;
    let loss = args.loss()?;
    let preference_type = loss.loss_type.preference_type();
    let rows = load_rows(args, preference_type, &setup)?;
    let initial = InitialModel::new(&args.model, args.sft_steps, SFT_STEPS, &setup)?;
    let checkpoint = initial.open(seed, &device)?;
    let template = args.model.template;
    let lora = args.model.lora.config();
    let (saver, mut parameters) =
        ModelSaver::new(setup.out, &initial.path, checkpoint, template, lora)?;
    let Datasets { mut data, mut validation, counts } = Datasets::new(&rows, args, &saver)?;
    let defaults = args.run_defaults(saver.config.parameter_count(), data.examples.len());
    let config = args.train_config(&defaults)?;
    let LrSchedule { total_steps, warmup_steps, .. } = config.schedule;
    setup.resolve(resolved_settings(&config.schedule, config.batch_size, rows.rule))?;
    let tokenizer = &saver.chat_tokenizer.tokenizer;
    let open = |source| open_reference(source, &saver.config, tokenizer, &device);
    let reference = args.reference.as_deref().map(open).transpose()?;
    print_dataset_summary(&data, &validation, &rows.filtered, &counts);

    setup.create_folder()?;
    if let Some(trained) = initial.train_and_save(seed, &device)? {
        parameters = trained.parameters;
    }
    if loss.loss_type.needs_reference() {
        let reference = Reference::new(reference, &saver, &parameters, dtype)?;
        let datasets = [&mut data, &mut validation];
        reference.set_log_probs(datasets, setup.out, 2 * config.batch_size)?;
    }
    let state = saver.train_state(parameters, config.optimizer, dtype, seed)?;
    let mut policy = DpoPolicy::new(&saver.config, state)?
        .with_gradient_checkpointing(args.optimization.gradient_checkpointing.into());
    let data_id = examples_sha256(data.examples.iter().chain(&validation.examples));
    let metrics = args.run.metrics;
    let log = RunLogConfig {
        plot: Plot { y_label: "loss", ..Plot::LOSS },
        ..RunLogConfig::losses(total_steps, warmup_steps, metrics.log_interval.get())
    };
    let mut log =
        setup.open_log(log, |checkpoint| policy.state.restore(checkpoint, &data_id).map(drop))?;
    let run = setup.run(&data_id)?;
    let validator = DpoValidator {
        data: &validation,
        loss,
        batch_size: 2 * config.batch_size,
        interval: metrics.eval_interval.unwrap_or(defaults.eval_interval(total_steps)),
        target_accuracy: args.target_accuracy,
        model_saver: run.ranks.is_first().then_some(&saver),
    };
    println!("{}\n{}", policy.state.parameter_summary(), defaults.summary(&config.schedule));
    raise_data_alarms(&counts, &mut log)?;
    train(&mut policy, &data, &config, &validator, &run, &mut log)?;
    finish_run(args, &setup, &policy, &saver, log)
}

/// Rows of the run. A new run holds out the rows that the run of its model held out of the same
/// data.
fn load_rows(
    args: &TrainArgs,
    preference_type: PreferenceType,
    setup: &RunSetup<'_>,
) -> Result<PreferenceRows> {
    let (seed, model) = (args.run.compute.seed, args.model.model.as_deref());
    let (split_spec, earlier) = args.split.split_of_run(&args.data, model, setup, seed)?;
    let rows = PreferenceRows::load(&args.data, &args.split, split_spec, preference_type, seed)?;
    if let Some(earlier) = earlier {
        earlier.warn_of_learned(&rows.splits.validation);
    }
    Ok(rows)
}

/// Ends the log of a run, merges the adapter of a run that is over if asked to, saves its last
/// model, and prints the report.
pub(super) fn finish_run(
    args: &TrainArgs,
    setup: &RunSetup<'_>,
    policy: &DpoPolicy,
    saver: &ModelSaver,
    log: RunLog,
) -> Result<()> {
    let speed = log.finish()?; // ends the progress line before the report
    if !policy.state.ranks.is_first() {
        return Ok(()); // the first writes and reports
    }
    let (progress, result) = (&policy.state.progress, policy.state.result(speed));
    setup.ensure_model_kept(progress)?;
    save_run_end(saver, setup, &policy.state, &args.model.lora)?;
    setup.print_report("part_10", progress, speed, saver.subfolder(), result);
    Ok(())
}

/// Tokenized training and validation rows, and counts of the training rows that do not fit.
struct Datasets {
    data: PreferenceDataset,
    validation: PreferenceDataset,
    counts: TokenizationCounts,
}

impl Datasets {
    fn new(rows: &PreferenceRows, args: &TrainArgs, saver: &ModelSaver) -> Result<Self> {
        let preference_type = args.loss()?.loss_type.preference_type();
        let (data, counts) = dataset(&rows.splits.train, saver, preference_type)?;
        let n_validation = rows.splits.validation.len().min(args.eval_pairs.get());
        let validation = &rows.splits.validation[..n_validation];
        let (validation, _) = dataset(validation, saver, preference_type)?;
        Ok(Self { data, validation, counts })
    }
}

/// Reference model, built for inference, and the SHA-256 of its weights.
struct Reference {
    model: GptModern,
    sha256: String,
}

impl Reference {
    /// The model of --reference, else that of `parameters` before the first step, computing in
    /// `dtype`; its log-probabilities are computed before anything is trained.
    fn new(
        named: Option<Checkpoint>,
        saver: &ModelSaver,
        parameters: &Parameters,
        dtype: DType,
    ) -> Result<Self> {
        let reference = match named {
            Some(named) => Self {
                model: named.inference_model(dtype)?,
                sha256: parameters_sha256(&named.parameters)?,
            },
            None => {
                let mut view = parameters.with_compute_dtype(dtype).for_inference();
                let model = GptModern::new(&saver.config, view.root())?;
                Self { model, sha256: parameters_sha256(parameters)? }
            }
        };
        Ranks::of_process()?.ensure_same(&reference.sha256, "reference model")?;
        Ok(reference)
    }

    /// Sets the log-probabilities of `datasets` under the reference, from the file in the run
    /// folder `out` if there is one.
    fn set_log_probs(
        &self,
        mut datasets: [&mut PreferenceDataset; 2],
        out: &Path,
        batch_size: usize,
    ) -> Result<()> {
        println!("log-probabilities under the reference ..");
        let [data, validation] = &datasets;
        let cache = RefCache::new(out, &[data, validation], &self.sha256);
        cache.load_or_compute(&mut datasets, &self.model, batch_size, &Ranks::of_process()?)
    }
}

/// Tokenized `rows`; unpaired ones have the mismatched examples of KTO's baseline.
fn dataset(
    rows: &[PreferenceRow],
    saver: &ModelSaver,
    preference_type: PreferenceType,
) -> Result<(PreferenceDataset, TokenizationCounts)> {
    let context_len = saver.config.context_len;
    let (examples, counts) = tokenize(rows, &saver.chat_tokenizer, context_len)?;
    ensure!(
        !examples.is_empty(),
        "no row fits the model's context of {context_len} tokens: {counts}"
    );
    let mismatched = match preference_type {
        PreferenceType::Paired => Vec::new(),
        PreferenceType::Unpaired => mismatched(&examples, context_len).context(
            "all rows have the same prompt: KTO's KL baseline needs completions of other prompts",
        )?,
    };
    Ok((PreferenceDataset { examples, mismatched }, counts))
}

/// Prints the sizes of the splits, and the counts of rows that were left out.
fn print_dataset_summary(
    data: &PreferenceDataset,
    validation: &PreferenceDataset,
    filtered: &FilteredRows,
    counts: &TokenizationCounts,
) {
    let longest = data.examples.iter().map(PreferenceExample::n_tokens).max().unwrap_or(0);
    println!(
        "{} rows to train on, of up to {longest} tokens with all completions; {} for validation",
        data.examples.len(),
        validation.examples.len()
    );
    if filtered.counts.total() > 0 {
        println!("dropped pairs: {filtered}");
    }
    if counts.n_dropped() + counts.n_truncated > 0 {
        println!("{counts}");
    }
}

/// Raises alarms about rows from which little can be learned.
fn raise_data_alarms(counts: &TokenizationCounts, log: &mut RunLog) -> Result<()> {
    if counts.n_truncated > 0 {
        let message = format!(
            "{} completions are cut: the model learns nothing about how they end; shorten them, or \
             use a model with a longer context",
            counts.n_truncated
        );
        log.alarm(0, &Alarm::new("truncated_completions", message))?;
    }
    if counts.n_identical > 0 {
        let message = format!(
            "{} pairs are dropped: nothing tells their completions apart once they are cut",
            counts.n_identical
        );
        log.alarm(0, &Alarm::new("identical_completions", message))?;
    }
    Ok(())
}
