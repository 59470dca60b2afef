//! 6.3 Training loop: that of the earlier parts, with a loss mask (6.2) and regular validation
//! (6.4).

use anyhow::{Result, ensure};
use candle_core::Device;
use experiment::{LengthGrouping, Run, RunLog, TrainState, is_due};
use model_io::ModelConfig;
use modern::GptModern;
use ranks::Ranks;
use tensor_core::Parameters;

use crate::step::sft_step;
use crate::{BatchLayout, BatchSampler, SftBatch, SftValidator, TokenizedExample, TrainConfig};

/// Trains `model`, whose weights are those of `state`, on `examples` from its current step, until
/// the schedule ends, the run is stopped, or `validator` reaches its target.
///
/// # Errors
/// When there are no examples, the loss is not finite, or a file cannot be written.
pub fn train(
    model: &GptModern,
    state: &mut TrainState,
    examples: &[TokenizedExample],
    config: &TrainConfig,
    validator: Option<&SftValidator<'_>>,
    run: &Run,
    log: &mut RunLog,
) -> Result<()> {
    ensure!(!examples.is_empty(), "there are no training examples");
    state.join(&run.ranks)?;
    // In 16 bits it has copies of the weights, so it is built when it is used.
    let inference_model = |state: &TrainState| {
        GptModern::new(model.config(), state.parameters.for_inference().root())
    };
    let mut model = model.clone();
    let lengths = examples.iter().map(|example| example.ids.len()).collect();
    let mut sampler = BatchSampler::new(lengths, config.curriculum, config.batch_size, config.seed);
    sampler.set_grouping(state.progress.length_grouping);
    let total_steps = config.schedule.total_steps;
    if let Some(validator) = validator.filter(|_| state.progress.step == 0) {
        validator.run(&inference_model(state)?, state, log)?; // baseline before training
        if run.is_over(&state.progress, total_steps)? {
            run.save_checkpoint(0, &[&*state], log, |folder, id| state.save(folder, id))?;
        }
    }
    while !run.is_over(&state.progress, total_steps)? {
        model.refresh(&mut state.parameters)?; // those of a checkpoint, or of the last step
        let step = state.progress.step + 1;
        let batches =
            micro_batches(&mut sampler, step, examples, config, &run.ranks, model.device())?;
        state.seed_dropout(config.seed);
        sft_step(&model, state, &batches, config, log)?;
        if let Some(validator) =
            validator.filter(|validator| step == total_steps || is_due(step, validator.interval))
        {
            validator.run(&inference_model(state)?, state, log)?;
        }
        let is_last = run.is_over(&state.progress, total_steps)? || run.should_stop(step)?;
        if is_last || run.is_save_due(step)? {
            run.save_checkpoint(step, &[&*state], log, |folder, id| state.save(folder, id))?;
        }
        if is_last {
            break;
        }
    }
    match run.is_over(&state.progress, total_steps)? {
        true => log.write_pending_row(),
        false => Ok(()),
    }
}

/// Trains a model of `parameters` on `examples` without a run folder, and returns its trained
/// state. Its batches are those of [`LengthGrouping::FixedBuckets`]: the results in the READMEs
/// start from small models that were trained on them.
///
/// # Errors
/// Those of [`train`].
pub fn train_in_memory(
    model: &ModelConfig,
    mut parameters: Parameters,
    examples: &[TokenizedExample],
    config: &TrainConfig,
) -> Result<TrainState> {
    let model = GptModern::new(model, parameters.root())?;
    let mut state = TrainState::new(parameters, config.optimizer)?;
    state.progress.length_grouping = LengthGrouping::FixedBuckets;
    let mut log = RunLog::of_losses(config.schedule.total_steps)?;
    train(&model, &mut state, examples, config, None, &Run::default(), &mut log)?;
    Ok(state)
}

/// Micro-batches of a step, counted from 1, with the examples of this one of the `ranks`.
fn micro_batches(
    sampler: &mut BatchSampler,
    step: usize,
    examples: &[TokenizedExample],
    config: &TrainConfig,
    ranks: &Ranks,
    device: &Device,
) -> Result<Vec<SftBatch>> {
    let first = (step - 1) * config.grad_accum_steps;
    let mut batches = Vec::with_capacity(config.grad_accum_steps);
    for index in first..first + config.grad_accum_steps {
        let indices = sampler.batch_indices(index);
        let own = indices[ranks.rows(indices.len())].iter();
        let batch: Vec<TokenizedExample> = own.map(|&i| examples[i].clone()).collect();
        if batch.is_empty() {
            continue;
        }
        batches.push(match config.batch_layout {
            BatchLayout::Padded => SftBatch::padded(&batch, device)?,
            BatchLayout::Packed(width) => SftBatch::packed(&batch, width, device)?,
        });
    }
    Ok(batches)
}
