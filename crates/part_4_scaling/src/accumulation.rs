//! 4.2 Gradient accumulation: a large batch is computed in micro-batches that fit in memory, and
//! the result is the gradient of the whole batch.
//!
//! The loss of a batch is the mean over its N targets, so a micro-batch with n of them has weight
//! n/N. Equal weights (a mean of means) are wrong for padded text: they give the tokens of
//! micro-batches with few targets too much weight.

use anyhow::{Context, Result, ensure};
use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor};
use modern::GptModern;
use tensor_core::ops::cross_entropy::IGNORE_INDEX;
use tensor_core::ops::{add, cross_entropy};
use tensor_core::{Parameters, backward};
use tiny_gpt::Batch;

/// Mean loss over all targets of `batches`, and its gradients times `scale`. The model may compute
/// in 16 bits; the loss and the sums of the gradients are f32.
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

/// Mean loss over all targets of `batches` and its gradients times `scale`, for any `mean_loss`
/// (f32) over the targets of one batch. `counts` holds the number of targets of each batch; the
/// whole loss of a batch, auxiliary terms included, is weighted by its share of them.
///
/// # Errors
/// When no batch has a target, and those of `mean_loss`.
pub fn gradients_of_mean_loss<B>(
    parameters: &Parameters,
    batches: &[B],
    counts: &[usize],
    scale: f64,
    mut mean_loss: impl FnMut(&B) -> Result<Tensor>,
) -> Result<(f64, GradStore)> {
    let n_targets: usize = counts.iter().sum();
    ensure!(n_targets > 0, "the batches of this step have no targets: every token is masked");
    let micro_batches: Vec<(&B, usize)> = batches.iter().zip(counts.iter().copied()).collect();
    sum_of_gradients(parameters, &micro_batches, scale, |(batch, count)| {
        Ok((mean_loss(batch)? * (*count as f64 / n_targets as f64))?)
    })
}

/// Sum of the losses of `micro_batches`, and its gradients times `scale`. One micro-batch at a time
/// is computed and backpropagated.
///
/// # Errors
/// When there are no micro-batches, and those of `loss`, which returns f32.
pub fn sum_of_gradients<P>(
    parameters: &Parameters,
    micro_batches: &[P],
    scale: f64,
    loss: impl FnMut(&P) -> Result<Tensor>,
) -> Result<(f64, GradStore)> {
    sum_of_gradients_in_stores(&[parameters], micro_batches, scale, loss)
}

/// Sum of the losses of `micro_batches` and its gradients times `scale`, where the loss depends on
/// several parameter stores, for example those of a policy and its critic.
///
/// # Errors
/// When there are no micro-batches, and those of `loss`, which returns f32.
pub fn sum_of_gradients_in_stores<P>(
    stores: &[&Parameters],
    micro_batches: &[P],
    scale: f64,
    mut loss: impl FnMut(&P) -> Result<Tensor>,
) -> Result<(f64, GradStore)> {
    let (mut accumulated, mut sum_of_losses) = (None, 0.);
    for micro_batch in micro_batches {
        let loss = loss(micro_batch)?; // ()
        let grads = backward(&(&loss * scale)?)?;
        sum_of_losses += f64::from(loss.to_scalar::<f32>()?); // waits for the device
        accumulated = Some(match accumulated {
            None => grads,
            Some(sum) => add_grads(sum, grads, stores)?,
        });
    }
    Ok((sum_of_losses, accumulated.context("there are no batches to compute a gradient from")?))
}

/// Number of targets of each of `batches`.
///
/// # Errors
/// Those of [`count_targets`].
pub fn target_counts(batches: &[Batch]) -> Result<Vec<usize>> {
    batches.iter().map(|batch| count_targets(&batch.targets)).collect()
}

/// Number of `targets: (B, T)` that are not [`IGNORE_INDEX`].
///
/// # Errors
/// When the targets are not i64.
pub fn count_targets(targets: &Tensor) -> Result<usize> {
    let targets: Vec<i64> = targets.flatten_all()?.to_vec1()?;
    Ok(targets.iter().filter(|&&target| target != IGNORE_INDEX).count())
}

/// Sum of two gradient stores, parameter by parameter.
fn add_grads(mut a: GradStore, mut b: GradStore, stores: &[&Parameters]) -> Result<GradStore> {
    for parameter in stores.iter().flat_map(|store| store.trainable()) {
        let variable = parameter.var.as_tensor();
        if let Some(grad_b) = b.remove(variable) {
            let sum = match a.remove(variable) {
                Some(grad_a) => add(&grad_a, &grad_b)?,
                None => grad_b,
            };
            a.insert(variable, sum);
        }
    }
    Ok(a)
}
