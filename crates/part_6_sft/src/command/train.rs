//! `part_6 train`: fine-tunes a model on examples into a run folder, or resumes such a run.

use std::path::Path;

use anyhow::Result;
use tensor_core::sha256;

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

/// Settings beside paths that may change on resume: the number of validation examples.
const OVERRIDABLE_ON_RESUME: [&str; 1] = ["eval_examples"];

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    let config = train_config(args)?;
    let device = args.run.compute.open_device()?;
    let inputs = [("--model", args.model.as_deref())];
    let setup = RunSetup::validate(args, (&args.out, &args.run), &OVERRIDABLE_ON_RESUME, &inputs)?;
    let dataset =
        args.examples.load_dataset(&args.data, args.demonstrations, args.run.compute.seed)?;
    let base = match &args.model {
        Some(model) => model.clone(),
        None => args.out.join("base").to_string_lossy().into_owned(),
    };
    let mut checkpoint = load_base_model(args, &base, &device)?;
    let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, args.template)?;
    let context_len = checkpoint.model.config().context_len;
    let data = tokenize(&dataset.train, &chat_tokenizer, context_len)?;
    let lora = args.lora.config();
    lora.as_ref().map(|lora| lora.resolve_layers(&checkpoint.parameters)).transpose()?;
    print_dataset_summary(&data, &chat_tokenizer, context_len)?;
    setup.create_folder()?;
    if args.model.is_none() && !setup.is_resumed {
        checkpoint = pretrain_and_save(args, &base, &device)?;
    }
    let (model, parameters) = (*checkpoint.model.config(), checkpoint.parameters);
    let mut train_state = TrainState::with_optional_lora(
        model,
        parameters,
        lora.as_ref(),
        config.optimizer,
        config.seed,
    )?;
    let data_id = data_id(&data);
    let model_saver = ModelSaver {
        chat_tokenizer: &chat_tokenizer,
        special_ids: &checkpoint.special_ids,
        sampler: checkpoint.sampler.as_ref(),
        lora: lora.as_ref().map(|lora| (lora, base.as_str())),
    };
    let restore = |path: &Path| train_state.restore(path, &data_id);
    let (folder, tracker, metrics_rows) = setup.open_run(args.eval.metrics.tracker, restore)?;
    let schedule = config.schedule;
    let interval = args.eval.metrics.log_interval.get();
    let log = SftLog::new(
        schedule.total_steps,
        schedule.warmup_steps,
        train_state.progress.step,
        interval,
    )?;
    let mut log = log.with_run_folder(folder, tracker, &metrics_rows);
    let outputs = setup.outputs(&model_saver, &data_id)?;
    let validator = validator(args, &dataset, &chat_tokenizer);
    println!("{}", train_state.parameter_summary());
    train(&mut train_state, &data.examples, &config, Some(&validator), &outputs, &mut log)?;
    let tokens_per_second = log.tokens_per_second();
    log.finish()?; // ends the progress line before the report
    if args.lora.merge && train_state.is_finished(schedule.total_steps) {
        model_saver.save_merged(&args.out, &device)?;
    }
    print_run_report(args, &train_state, &config, tokens_per_second)
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

fn validator<'a>(
    args: &TrainArgs,
    dataset: &'a SftDataset,
    chat_tokenizer: &'a ChatTokenizer,
) -> SftValidator<'a> {
    let max_new_tokens = args.eval.max_new_tokens.unwrap_or(args.data.default_max_new_tokens());
    let batch_size = args.step.batch_size.get();
    let n = dataset.validation.len().min(args.eval.eval_examples.get());
    SftValidator {
        examples: &dataset.validation[..n],
        chat_tokenizer,
        eval_config: GenerationEvalConfig { batch_size, max_new_tokens },
        interval: args.eval.eval_interval,
        target_exact_match: args.target_exact_match,
    }
}

/// Id of the training data, the SHA-256 of its tokens: a checkpoint is not resumed with other data.
fn data_id(data: &TokenizedDataset) -> String {
    let tokens = data.examples.iter().flat_map(|example| {
        [example.prompt_len as u32].into_iter().chain(example.ids.iter().copied())
    });
    sha256::hash_u32s(tokens)
}
