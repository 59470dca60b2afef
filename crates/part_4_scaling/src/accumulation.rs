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
use ranks::{PartialGradients, RankGradients};
use tensor_core::ops::add;
use tensor_core::ops::cross_entropy::IGNORE_INDEX;
use tensor_core::{Parameters, backward};
use tiny_gpt::Batch;

// ANCHOR: gradients
/// Mean loss over all targets of `batches`, and its gradients times `scale`. The model may compute
/// in 16 bits; the loss and the sums of the gradients are f32.
///
/// # Errors
/// When a tensor operation fails.
pub fn gradients(
    model: &GptModern,
    parameters: &Parameters,
    batches: &[Batch],
    scale: f64,
) -> Result<RankGradients> {
    let counts = target_counts(batches)?;
    let n_targets: usize = counts.iter().sum();
    let mut accumulator = GradAccumulator::default();
    for (batch, count) in batches.iter().zip(counts) {
        let hidden = model.hidden_states(&batch.inputs)?; // (B, T, C)
        // (), mean over the micro-batch, without its (B, T, V) logits in memory
        let loss = model.cross_entropy(&hidden, &batch.targets)?;
        let share = count as f64 / n_targets.max(1) as f64;
        accumulator.backward_scaled(&(loss * share)?, scale, &[parameters])?;
    }
    let n_tokens = batches.iter().map(|batch| batch.inputs.elem_count()).sum();
    accumulator.finish_rank(n_targets, n_tokens)
}
// ANCHOR_END: gradients

/// Sum of the gradients of several micro-batches, whose losses add up to the loss of the batch.
#[derive(Default)]
pub struct GradAccumulator {
    grads: Option<GradStore>,
    /// Sum of the losses, (), f64, on the device until the end: reading it waits for the device.
    loss: Option<Tensor>,
}

impl GradAccumulator {
    /// Backpropagates `loss: ()` (f32), the part of a micro-batch in the loss of the batch, into
    /// the sum. `stores` hold the parameters that the loss depends on, for example those of a
    /// policy and its critic.
    ///
    /// # Errors
    /// When memory is short.
    pub fn backward(&mut self, loss: &Tensor, stores: &[&Parameters]) -> Result<()> {
        self.backward_scaled(loss, 1., stores)
    }

    /// Like [`GradAccumulator::backward`], with the gradients times `scale`.
    ///
    /// # Errors
    /// When memory is short.
    pub fn backward_scaled(
        &mut self,
        loss: &Tensor,
        scale: f64,
        stores: &[&Parameters],
    ) -> Result<()> {
        let grads = backward(&(loss * scale)?)?;
        let loss = loss.detach().to_dtype(DType::F64)?;
        self.loss = Some(match self.loss.take() {
            None => loss,
            Some(sum) => (sum + loss)?,
        });
        self.grads = Some(match self.grads.take() {
            None => grads,
            Some(sum) => add_grads(sum, grads, stores)?,
        });
        Ok(())
    }

    /// Mean loss over the `n_targets` targets of the rows of a rank, which may have none, and its
    /// gradients. The rows have `n_tokens` input tokens.
    ///
    /// # Errors
    /// When the device cannot be read.
    pub fn finish_rank(self, n_targets: usize, n_tokens: usize) -> Result<RankGradients> {
        Ok(RankGradients { loss: self.loss()?, grads: self.grads, n_targets, n_tokens })
    }

    /// The part of a rank, which may have no rows, in the loss of the batch, and its gradients.
    ///
    /// # Errors
    /// When the device cannot be read.
    pub fn finish_part(self) -> Result<PartialGradients> {
        Ok(PartialGradients { loss: self.loss()?, grads: self.grads })
    }

    /// Loss of the batch, and its gradients.
    ///
    /// # Errors
    /// When there was no micro-batch.
    pub fn finish(self) -> Result<(f64, GradStore)> {
        let loss = self.loss()?;
        Ok((loss, self.grads.context("there are no batches to compute a gradient from")?))
    }

    fn loss(&self) -> Result<f64> {
        Ok(self.loss.as_ref().map_or(Ok(0.), Tensor::to_scalar)?) // waits for the device
    }
}

/// Number of targets of all micro-batches of a step, from their `counts`.
///
/// # Errors
/// When there is none.
pub fn total_targets(counts: impl IntoIterator<Item = usize>) -> Result<usize> {
    let n_targets = counts.into_iter().sum();
    ensure!(n_targets > 0, "the batches of this step have no targets: every token is masked");
    Ok(n_targets)
}

/// Number of targets of each of `batches` that are not [`IGNORE_INDEX`], counted on their device
/// and read once.
///
/// # Errors
/// When the targets are not i64.
pub fn target_counts(batches: &[Batch]) -> Result<Vec<usize>> {
    let count = |Batch { targets, .. }: &Batch| {
        ensure!(targets.dtype() == DType::I64, "targets must be i64, got {:?}", targets.dtype());
        Ok(targets.ne(IGNORE_INDEX)?.to_dtype(DType::U32)?.sum_all()?)
    };
    let counts: Vec<Tensor> = batches.iter().map(count).collect::<Result<_>>()?;
    if counts.is_empty() {
        return Ok(Vec::new()); // as a rank without rows
    }
    let counts: Vec<u32> = Tensor::stack(&counts, 0)?.to_vec1()?;
    Ok(counts.into_iter().map(|count| count as usize).collect())
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
