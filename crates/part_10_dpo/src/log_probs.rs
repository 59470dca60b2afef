//! 10.2 Log-probabilities of whole completions: sums over their tokens, in f32, without the prompt.

use anyhow::Result;
use candle_core::Tensor;
use modern::GptModern;
use ppo::log_probs::log_probs;
use ppo::{RolloutGroup, TokenBatch};

use crate::preference_example::PreferenceExample;

/// log π of each completion of `groups` under `model`, Σ_t log π(y_t | x, y_<t): (R). A prompt is
/// read once for all its completions.
///
/// # Errors
/// When a text is longer than the model's context.
pub fn completion_log_probs<'a>(
    model: &GptModern,
    groups: impl IntoIterator<Item = &'a RolloutGroup>,
) -> Result<Tensor> {
    let batch = TokenBatch::from_groups(groups, model.config(), model.device())?;
    Ok(log_probs(model, &batch, 1.)?.sum(1)?) // (R, T) -> (R)
}

/// log π of the completions of each of `examples` under `model`, which is built for inference,
/// `batch_size` examples at a time.
///
/// # Errors
/// When a text is longer than the model's context.
pub fn log_probs_of_examples(
    model: &GptModern,
    examples: &[PreferenceExample],
    batch_size: usize,
) -> Result<Vec<Vec<f64>>> {
    let mut by_length: Vec<usize> = (0..examples.len()).collect();
    by_length.sort_by_key(|&i| examples[i].n_tokens()); // texts of similar length share a batch
    let mut all = vec![Vec::new(); examples.len()];
    for indices in by_length.chunks(batch_size.max(1)) {
        let groups = indices.iter().map(|&i| &examples[i].group);
        let log_probs = completion_log_probs(model, groups)?.to_vec1::<f32>()?;
        let mut log_probs = log_probs.into_iter().map(f64::from);
        for &i in indices {
            all[i] = log_probs.by_ref().take(examples[i].labels.len()).collect();
        }
    }
    Ok(all)
}
