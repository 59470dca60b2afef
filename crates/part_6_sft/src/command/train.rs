//! `part_6 train`: fine-tunes a model on examples into a run folder, or resumes such a run.

use std::num::NonZeroUsize;

use anyhow::{Context, Result};
use datasets::{Example, SplitRule, Splits};
use experiment::{RunLogConfig, RunSetup};
use modern::GptModern;
use scaling::LrSchedule;
use scaling::run_defaults::resolved_settings;
use tensor_core::sha256;

use super::arguments::TrainArgs;
use crate::initial_model::InitialModel;
use crate::run_end::save_run_end;
use crate::run_split::{GivenSplit, RunSplit, split_of_run};
use crate::tokenized_dataset::{TokenizedDataset, max_inputs};
use crate::{ChatTokenizer, ModelSaver, SftValidator, TokenizedExample, tokenize, train};

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    args.check()?;
    let (seed, device) = (args.run.compute.seed, args.run.compute.open_device()?);
    let dtype = args.optimization.dtype.dtype();
    let inputs = [("--model", args.model.model.as_deref())];
    let mut setup = RunSetup::new_on_ranks(args, &args.run, &["chat_date"], &inputs)?;
    let (dataset, split_rule) = load_dataset(args, &setup)?;
    let initial = InitialModel::new(&args.model, None, 0, &setup)?;
    let checkpoint = initial.open(seed, &device)?;
    let (template, lora) = (args.model.template, args.model.lora.config());
    let (saver, mut parameters) =
        ModelSaver::new(setup.out, &initial.path, checkpoint, template, lora)?;
    let n_inputs = max_inputs(saver.config.context_len, args.max_length.map(NonZeroUsize::get));
    let data = tokenize(&dataset.train, &saver.chat_tokenizer, n_inputs)?;
    args.ensure_examples_fit_row(&data.examples)?;
    let defaults = args.run_defaults(saver.config.parameter_count(), data.examples.len());
    let config = args.train_config(&defaults)?;
    let LrSchedule { total_steps, warmup_steps, .. } = config.schedule;
    setup.resolve(resolved_settings(&config.schedule, config.batch_size, split_rule))?;
    print_dataset_summary(&data, &saver.chat_tokenizer, n_inputs)?;
    setup.create_folder()?;
    if let Some(trained) = initial.train_and_save(seed, &device)? {
        parameters = trained.parameters;
    }
    let mut state = saver.train_state(parameters, config.optimizer, dtype, seed)?;
    let model = GptModern::new(&saver.config, state.parameters.root())?
        .with_gradient_checkpointing(args.optimization.gradient_checkpointing.into());
    let data_id = data_id(&data);
    let metrics = args.run.metrics;
    let log = RunLogConfig::losses(total_steps, warmup_steps, metrics.log_interval.get());
    let mut log =
        setup.open_log(log, |checkpoint| state.restore(checkpoint, &data_id).map(drop))?;
    let run = setup.run(&data_id)?;
    let n = dataset.validation.len().min(args.eval_examples.get());
    let validator = SftValidator {
        examples: &dataset.validation[..n],
        chat_tokenizer: &saver.chat_tokenizer,
        eval_config: args.eval_config(),
        interval: metrics.eval_interval.unwrap_or(defaults.eval_interval(total_steps)),
        target_exact_match: args.target_exact_match,
        model_saver: run.ranks.is_first().then_some(&saver),
    };
    println!("{}\n{}", state.parameter_summary(), defaults.summary(&config.schedule));
    train(&model, &mut state, &data.examples, &config, Some(&validator), &run, &mut log)?;
    let speed = log.finish()?; // ends the progress line before the report
    if !state.ranks.is_first() {
        return Ok(()); // the first writes and reports
    }
    save_run_end(&saver, &setup, &state, &args.model.lora)?;
    let result = state.result(speed);
    setup.print_report("part_6", &state.progress, speed, saver.subfolder(), result);
    Ok(())
}

/// Training and validation examples, and the rule of their split. A new run holds out the rows that
/// the run of its model held out of the same data.
fn load_dataset(
    args: &TrainArgs,
    setup: &RunSetup<'_>,
) -> Result<(Splits<Example>, Option<SplitRule>)> {
    let (seed, model) = (args.run.compute.seed, args.model.model.as_deref());
    let source = args.data.open_source()?;
    let earlier = RunSplit::find(model, &args.data.data, &args.data.dataset)?;
    let given = GivenSplit { validation: args.examples.validation, seed: None };
    let resumed = setup.is_resumed.then_some(setup.out);
    let default = args.examples.split_spec(seed);
    let split_spec = split_of_run(resumed, given, earlier.as_ref(), default)?;
    let (dataset, rule) =
        args.examples.load_dataset(&source, args.demonstrations, split_spec, seed)?;
    if let Some(earlier) = earlier {
        earlier.warn_of_learned(&dataset.validation);
    }
    Ok((dataset, rule))
}

/// Prints the size of the training set, and the loss mask of its first example.
fn print_dataset_summary(
    data: &TokenizedDataset,
    chat_tokenizer: &ChatTokenizer,
    n_inputs: usize,
) -> Result<()> {
    let TokenizedDataset { examples, n_truncated, n_skipped } = data;
    let first = examples.first().with_context(|| {
        format!(
            "no example fits: every prompt fills the {n_inputs} tokens of --max-length or of \
                 the model's context"
        )
    })?;
    let n_tokens: usize = examples.iter().map(|example| example.ids.len()).sum();
    let n_targets: usize = examples.iter().map(TokenizedExample::n_targets).sum();
    println!(
        "{} examples, {n_tokens} tokens, {n_targets} of them in the loss; \
         {n_truncated} completions truncated, {n_skipped} examples skipped \
         (no token of the completion fits)",
        examples.len()
    );
    println!(
        "the first example; ^ marks the tokens in the loss:\n{}",
        first.render_loss_mask(&chat_tokenizer.tokenizer)?
    );
    Ok(())
}

/// Id of the training data, the SHA-256 of its tokens and of the bounds of its targets, without the
/// end of the last: a checkpoint is not resumed with other data.
fn data_id(data: &TokenizedDataset) -> String {
    let tokens = data.examples.iter().flat_map(|TokenizedExample { ids, target_spans }| {
        let bounds = target_spans.iter().flat_map(|span| [span.start as u32, span.end as u32]);
        bounds.take((2 * target_spans.len()).saturating_sub(1)).chain(ids.iter().copied())
    });
    sha256::hash_u32s(tokens)
}
