//! 4.2 Accumulation: a large batch in parts that fit into memory, with the gradient of the whole.
//!
//! The loss of a batch is the mean over its N targets. A part with n of them therefore counts n/N, not one over the number of
//! parts: where texts are padded the parts differ, and a mean of means would favour tokens in short company.

use anyhow::{Context, Result, ensure};
use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor};
use modern::GptModern;
use tensor_core::ops::cross_entropy::IGNORE_INDEX;
use tensor_core::ops::{add, cross_entropy};
use tensor_core::{Parameters, backward};
use tiny_gpt::Batch;

/// The loss of `batches` taken as one, and its gradients times `scale`. The model may compute in fewer bits than
/// `parameters` have; the loss, and what is added up, are f32.
///
/// # Errors
/// When no batch has a target, or a tensor operation fails.
pub fn gradients(
    model: &GptModern,
    parameters: &Parameters,
    batches: &[Batch],
    scale: f64,
) -> Result<(f64, GradStore)> {
    gradients_of_mean_loss(parameters, batches, &target_counts(batches)?, scale, |batch| {
        let logits = model.forward(&batch.inputs)?.to_dtype(DType::F32)?; // (B, T, V)
        Ok(cross_entropy(&logits, &batch.targets)?) // ()
    })
}

/// The same for any `mean_loss` over a batch's targets, in f32, of which `counts` says how many there are: whatever a loss is
/// made of, all of it gets the batch's share.
///
/// # Errors
/// As [`gradients`], and those of `mean_loss`.
pub fn gradients_of_mean_loss<B>(
    parameters: &Parameters,
    batches: &[B],
    counts: &[usize],
    scale: f64,
    mut mean_loss: impl FnMut(&B) -> Result<Tensor>,
) -> Result<(f64, GradStore)> {
    let all: usize = counts.iter().sum();
    ensure!(all > 0, "there is not one target in this step's batches");
    let parts: Vec<(&B, usize)> = batches.iter().zip(counts.iter().copied()).collect();
    sum_of_gradients(parameters, &parts, scale, |(batch, count)| {
        Ok((mean_loss(batch)? * (*count as f64 / all as f64))?)
    })
}

/// The sum of the losses of `parts`, and its gradients times `scale`: what a loss that is a sum of parts is learned by, a part at
/// a time.
///
/// # Errors
/// When there is no part, and those of `loss`, which is f32.
pub fn sum_of_gradients<P>(
    parameters: &Parameters,
    parts: &[P],
    scale: f64,
    loss: impl FnMut(&P) -> Result<Tensor>,
) -> Result<(f64, GradStore)> {
    sum_of_gradients_in_stores(&[parameters], parts, scale, loss)
}

/// The same where the loss depends on several stores of parameters: those of a policy and of its critic, say.
///
/// # Errors
/// As [`sum_of_gradients`].
pub fn sum_of_gradients_in_stores<P>(
    stores: &[&Parameters],
    parts: &[P],
    scale: f64,
    mut loss: impl FnMut(&P) -> Result<Tensor>,
) -> Result<(f64, GradStore)> {
    let (mut total, mut sum_of_losses) = (None, 0.);
    for part in parts {
        let loss = loss(part)?; // ()
        let grads = backward(&(&loss * scale)?)?;
        sum_of_losses += f64::from(loss.to_scalar::<f32>()?); // waits for the device
        total = Some(match total {
            None => grads,
            Some(before) => add_grads(before, grads, stores)?,
        });
    }
    Ok((sum_of_losses, total.context("there is nothing to learn from")?))
}

/// How many targets each of `batches` has.
///
/// # Errors
/// As [`real_targets`].
pub fn target_counts(batches: &[Batch]) -> Result<Vec<usize>> {
    batches.iter().map(|batch| count_targets(&batch.targets)).collect()
}

/// How many of `targets: (B, T)` count.
///
/// # Errors
/// When they are no i64.
pub fn count_targets(targets: &Tensor) -> Result<usize> {
    let targets: Vec<i64> = targets.flatten_all()?.to_vec1()?;
    Ok(targets.iter().filter(|&&target| target != IGNORE_INDEX).count())
}

/// Adds up two gradients, parameter by parameter.
fn add_grads(mut a: GradStore, mut b: GradStore, stores: &[&Parameters]) -> Result<GradStore> {
    for parameter in stores.iter().flat_map(|store| store.trainable()) {
        let variable = parameter.var.as_tensor();
        if let Some(grad) = b.remove(variable) {
            let both = match a.remove(variable) {
                Some(before) => add(&before, &grad)?,
                None => grad,
            };
            a.insert(variable, both);
        }
    }
    Ok(a)
}
