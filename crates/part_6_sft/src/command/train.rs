//! `part_6 train`: a model and examples in, a run folder out; or a run folder in, and the rest of its run.

use std::path::Path;

use anyhow::Result;
use scaling::sha256;

use super::arguments::TrainArgs;
use super::report::{print_dataset_summary, print_run_report};
use super::start::{load_base_model, pretrain_and_save};
use crate::evaluation::GenerationEvalConfig;
use crate::source::SftDataset;
use crate::tokenized_example::TokenizedDataset;
use crate::{
    BatchLayout, ChatTokenizer, ModelSaver, RunSetup, SftLog, SftValidator, TrainConfig,
    TrainState, tokenize, train,
};

/// What may change when a run is resumed beside where things are: how much is looked at.
const OVERRIDABLE_ON_RESUME: [&str; 1] = ["eval_examples"];

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    let config = train_config(args)?;
    let device = args.run.compute.open_device()?;
    let begins_with = [("--model", args.model.as_deref())];
    let start = RunSetup::new(args, (&args.out, &args.run), &OVERRIDABLE_ON_RESUME, &begins_with)?;
    let examples =
        args.examples.load_dataset(&args.data, args.demonstrations, args.run.compute.seed)?;
    let base = match &args.model {
        Some(model) => model.clone(),
        None => args.out.join("base").to_string_lossy().into_owned(),
    };
    let mut checkpoint = load_base_model(args, &base, &device)?;
    let speech = ChatTokenizer::from_checkpoint(&mut checkpoint, args.template)?;
    let context = checkpoint.model.config().context_len;
    let data = tokenize(&examples.train, &speech, context)?;
    let lora = args.lora.config();
    lora.as_ref().map(|lora| lora.resolve_layers(&checkpoint.parameters)).transpose()?;
    print_dataset_summary(&data, &speech, context)?;
    start.create_folder()?;
    if args.model.is_none() && !start.is_resumed {
        checkpoint = pretrain_and_save(args, &base, &device)?;
    }
    let (model, parameters) = (*checkpoint.model.config(), checkpoint.parameters);
    let mut tuning = TrainState::with_optional_lora(
        model,
        parameters,
        lora.as_ref(),
        config.optimizer,
        config.seed,
    )?;
    let name = data_name(&data);
    let keeper = ModelSaver {
        chat_tokenizer: &speech,
        special_ids: &checkpoint.special_ids,
        sampler: checkpoint.sampler.as_ref(),
        lora: lora.as_ref().map(|lora| (lora, base.as_str())),
    };
    let restore = |path: &Path| tuning.restore(path, &name);
    let (folder, tracker, rows) = start.open_run(args.eval.metrics.tracker, restore)?;
    let schedule = config.schedule;
    let interval = args.eval.metrics.log_interval.get();
    let log =
        SftLog::new(schedule.total_steps, schedule.warmup_steps, tuning.progress.step, interval)?;
    let mut log = log.record_to(folder, tracker, &rows);
    let outputs = start.outputs(&keeper, &name)?;
    let exam = exam(args, &examples, &speech);
    println!("{}", tuning.parameter_summary());
    train(&mut tuning, &data.examples, &config, Some(&exam), &outputs, &mut log)?;
    let tokens_per_second = log.tokens_per_second();
    log.finish()?; // the progress line ends before we speak
    if args.lora.merge && tuning.is_finished(schedule.total_steps) {
        keeper.save_merged(&args.out, &device)?;
    }
    print_run_report(args, &tuning, &config, tokens_per_second)
}

fn train_config(args: &TrainArgs) -> Result<TrainConfig> {
    let step = &args.step;
    step.ensure_f32_without_checkpointing()?;
    args.lora.check()?;
    Ok(TrainConfig {
        batch_size: step.batch_size.get(),
        grad_accum_steps: step.grad_accum_steps.get(),
        curriculum: args.curriculum,
        batch_layout: args
            .pack
            .map_or(BatchLayout::Padded, |width| BatchLayout::Packed(width.get())),
        schedule: args.schedule.schedule()?,
        optimizer: step.optimizer.adamw_config(),
        max_grad_norm: step.optimizer.max_grad_norm().unwrap_or(f64::MAX),
        seed: args.run.compute.seed,
    })
}

fn exam<'a>(
    args: &TrainArgs,
    examples: &'a SftDataset,
    speech: &'a ChatTokenizer,
) -> SftValidator<'a> {
    let max_new_tokens = args.eval.max_new_tokens.unwrap_or(args.data.default_max_new_tokens());
    let batch_size = args.step.batch_size.get();
    let n = examples.validation.len().min(args.eval.eval_examples.get());
    SftValidator {
        examples: &examples.validation[..n],
        chat_tokenizer: speech,
        eval_config: GenerationEvalConfig { batch_size, max_new_tokens },
        interval: args.eval.eval_interval,
        target_exact_match: args.stop_at,
    }
}

/// A name that follows from what is learned, so that a checkpoint is not continued with something else.
fn data_name(data: &TokenizedDataset) -> String {
    let numbers = data.examples.iter().flat_map(|example| {
        [example.prompt_len as u32].into_iter().chain(example.ids.iter().copied())
    });
    sha256::hash_u32s(numbers)
}
