//! Loss and gradients of all ranks: their mean, weighted by what each has learned from, or their
//! sum.

use anyhow::{Context, Result, ensure};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};
use tensor_core::{Parameters, backward};

use crate::Ranks;

/// A count c travels as two numbers, c / 4096 and c mod 4096, since f32 has integers up to 2²⁴.
const BASE: usize = 4096;

const NO_TARGETS: &str = "the batches of this step have no targets: every token is masked";

/// Mean loss of the rows of a batch that one rank has, and its gradients.
pub struct RankGradients {
    /// Mean over the targets.
    pub loss: f64,
    /// Gradients of that loss; `None` without a row.
    pub grads: Option<GradStore>,
    /// Number of targets, what the loss is the mean of: tokens that are learned from, or pairs.
    pub n_targets: usize,
    /// Number of input tokens.
    pub n_tokens: usize,
}

/// Part of the loss of a batch that one rank has computed, and its gradients. The loss of the batch
/// is the sum of the parts, each divided by a number of the whole batch already.
pub struct PartialGradients {
    /// Part of the sum.
    pub loss: f64,
    /// Gradients of that part; `None` without a row.
    pub grads: Option<GradStore>,
}

/// Loss and gradients of a batch.
pub struct BatchGradients {
    /// Loss of the batch.
    pub loss: f64,
    /// Gradients of that loss.
    pub grads: GradStore,
    /// Number of targets, at least one.
    pub n_targets: usize,
    /// Number of input tokens.
    pub n_tokens: usize,
}

impl RankGradients {
    /// Loss and gradients of the whole batch, of which `self` has the rows of one of the `ranks`.
    /// `stores` hold the parameters. One reduction carries everything; the division comes after it,
    /// so a rank with more targets has more weight, as on one rank.
    ///
    /// # Errors
    /// When no rank has a target, another rank has ended, or memory is short.
    pub fn average(self, ranks: &Ranks, stores: &[&Parameters]) -> Result<BatchGradients> {
        let Self { loss, grads, n_targets, n_tokens } = self;
        if !ranks.are_several() {
            let grads = grads.filter(|_| n_targets > 0).context(NO_TARGETS)?;
            return Ok(BatchGradients { loss, grads, n_targets, n_tokens });
        }
        let mut sums = Vec::new();
        for count in [n_targets, n_tokens] {
            sums.extend([(count / BASE) as f32, (count % BASE) as f32]);
        }
        add_weighted(&mut sums, loss, grads.as_ref(), n_targets as f64, stores)?;
        ranks.all_reduce_sum(&mut sums)?;
        let (counts, rest) = sums.split_at(4);
        let count = |i: usize| counts[i] as usize * BASE + counts[i + 1] as usize;
        let (n_targets, n_tokens) = (count(0), count(2));
        ensure!(n_targets > 0, NO_TARGETS);
        let (loss, grads) = from_sums(rest, n_targets as f64, stores)?;
        Ok(BatchGradients { loss, grads, n_targets, n_tokens })
    }
}

impl PartialGradients {
    /// Loss of the whole batch and its gradients, the sums over the `ranks`. `stores` hold the
    /// parameters.
    ///
    /// # Errors
    /// When no rank has a row, another rank has ended, or memory is short.
    pub fn sum(self, ranks: &Ranks, stores: &[&Parameters]) -> Result<(f64, GradStore)> {
        let Self { loss, grads } = self;
        if !ranks.are_several() {
            return Ok((loss, grads.context(NO_TARGETS)?));
        }
        let n_parts = f32::from(u8::from(grads.is_some()));
        let mut sums = vec![n_parts];
        add_weighted(&mut sums, loss, grads.as_ref(), f64::from(n_parts), stores)?;
        ranks.all_reduce_sum(&mut sums)?;
        let (n_parts, rest) = sums.split_at(1);
        ensure!(n_parts[0] > 0., NO_TARGETS);
        from_sums(rest, 1., stores)
    }
}

/// Adds `loss` times `weight` to the flat `sums`, then each parameter's presence and gradient times
/// `weight`.
fn add_weighted(
    sums: &mut Vec<f32>,
    loss: f64,
    grads: Option<&GradStore>,
    weight: f64,
    stores: &[&Parameters],
) -> Result<()> {
    let loss = if weight > 0. { loss * weight } else { 0. };
    let rounded = loss as f32;
    sums.extend([rounded, (loss - f64::from(rounded)) as f32]);
    for parameter in stores.iter().flat_map(|store| store.trainable()) {
        let variable = parameter.var.as_tensor();
        match grads.and_then(|grads| grads.get(variable)) {
            Some(grad) if weight > 0. => {
                let grad = grad.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
                sums.push(1.);
                sums.extend(grad.iter().map(|&g| g * weight as f32));
            }
            _ => sums.resize(sums.len() + 1 + parameter.var.elem_count(), 0.),
        }
    }
    Ok(())
}

/// Loss and gradients, from the sums over the ranks of what [`add_weighted`] has added, divided by
/// `divisor`.
fn from_sums(sums: &[f32], divisor: f64, stores: &[&Parameters]) -> Result<(f64, GradStore)> {
    let (loss, mut rest) = sums.split_at(2);
    let loss = (f64::from(loss[0]) + f64::from(loss[1])) / divisor;
    let mut grads = backward(&Tensor::new(0f32, &Device::Cpu)?)?; // an empty store
    for parameter in stores.iter().flat_map(|store| store.trainable()) {
        let (presence, values) = rest.split_at(1);
        let (grad, after) = values.split_at(parameter.var.elem_count());
        rest = after;
        if presence[0] > 0. {
            let grad: Vec<f32> = grad.iter().map(|&g| g / divisor as f32).collect();
            let (shape, device) = (parameter.var.shape(), parameter.var.device());
            let grad = Tensor::from_vec(grad, shape, device)?.to_dtype(parameter.var.dtype())?;
            grads.insert(parameter.var.as_tensor(), grad);
        }
    }
    Ok((loss, grads))
}
