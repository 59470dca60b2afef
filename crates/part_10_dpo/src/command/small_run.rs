//! Training of a small model on generated pairs in memory, for the demo and the comparison of
//! lengths.

use anyhow::Result;
use datasets::Preference;
use experiment::{LengthGrouping, Run, RunLog, TrainState};
use modern::GptModern;
use ranks::Ranks;
use scaling::LrSchedule;
use sft::ChatTokenizer;
use tensor_core::{AdamWConfig, Parameters};

use crate::losses::DpoLoss;
use crate::preference_example::{PreferenceDataset, PreferenceRow, tokenize};
use crate::ref_cache::set_ref_log_probs;
use crate::step::{DpoPolicy, TrainConfig};
use crate::training::train;
use crate::validator::DpoValidator;

/// Pairs per step.
pub(super) const BATCH_SIZE: usize = 32;

/// Trains `parameters`, those of `reference`, for `steps` steps on `data`, validated on `test`;
/// `seed` is that of the batches.
pub(super) fn train_small(
    reference: &GptModern,
    parameters: Parameters,
    data: &PreferenceDataset,
    test: &PreferenceDataset,
    loss: DpoLoss,
    steps: usize,
    seed: u64,
) -> Result<DpoPolicy> {
    let config = TrainConfig {
        batch_size: BATCH_SIZE,
        grad_accum_steps: 1,
        loss,
        schedule: LrSchedule::cosine(3e-4, steps),
        optimizer: AdamWConfig { beta2: 0.99, weight_decay: 0., ..AdamWConfig::default() }.into(),
        max_grad_norm: 1.,
        seed,
    };
    let mut state = TrainState::new(parameters, config.optimizer)?;
    // The README's numbers are those of fixed buckets, whose fault, the same left-over examples in
    // every epoch, does not matter in a run of one epoch.
    state.progress.length_grouping = LengthGrouping::FixedBuckets;
    let mut policy = DpoPolicy::new(reference.config(), state)?;
    let validator = DpoValidator {
        data: test,
        loss,
        batch_size: 2 * BATCH_SIZE,
        interval: 0,
        target_accuracy: None,
        model_saver: None,
    };
    let log = &mut RunLog::of_losses(steps)?;
    train(&mut policy, data, &config, &validator, &Run::default(), log)?;
    Ok(policy)
}

/// Tokenized `pairs` with their log-probabilities under `reference`.
pub(super) fn dataset(
    pairs: Vec<Preference>,
    chat_tokenizer: &ChatTokenizer,
    reference: &GptModern,
) -> Result<PreferenceDataset> {
    let rows: Vec<PreferenceRow> = pairs.into_iter().map(PreferenceRow::from).collect();
    let (mut examples, _) = tokenize(&rows, chat_tokenizer, reference.config().context_len)?;
    set_ref_log_probs(&mut examples, reference, 2 * BATCH_SIZE, &Ranks::Alone)?;
    Ok(PreferenceDataset { examples, mismatched: Vec::new() })
}
