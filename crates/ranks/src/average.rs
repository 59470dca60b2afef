//! Loss and gradients of all ranks: their mean, weighted by what each has learned from, or their
//! sum.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};
use tensor_core::{Parameter, Parameters, backward};

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
    /// Time of the reduction; `None` on one rank.
    pub reduction: Option<ReductionTime>,
}

/// Time of a reduction on one rank.
#[derive(Debug, Clone, Copy)]
pub struct ReductionTime {
    /// Until the slowest rank had computed its gradients.
    pub wait: Duration,
    /// From then on: sending and adding.
    pub all_reduce: Duration,
}

impl RankGradients {
    /// Loss and gradients of the whole batch, of which `self` has the rows of one of the `ranks`.
    /// `stores` hold the parameters. One reduction carries everything; the division comes after it,
    /// so a rank with more targets has more weight, as on one rank.
    ///
    /// # Errors
    /// When no rank has a target, another rank has ended, or memory is short.
    pub fn average(self, ranks: &Ranks, stores: &[&Parameters]) -> Result<BatchGradients> {
        if ranks.are_several() {
            let summands = self.summands(stores)?;
            summands.device().synchronize()?; // this rank's own work is no waiting
            let begun = Instant::now();
            ranks.any(false)?; // all have their gradients
            let wait = begun.elapsed();
            let sums = ranks.all_reduce(summands)?;
            let batch = BatchGradients::from_sums(&sums, stores)?; // waits for the device
            let reduction = ReductionTime { wait, all_reduce: begun.elapsed() - wait };
            return Ok(BatchGradients { reduction: Some(reduction), ..batch });
        }
        let Self { loss, grads, n_targets, n_tokens } = self;
        let grads = grads.filter(|_| n_targets > 0).context(NO_TARGETS)?;
        Ok(BatchGradients { loss, grads, n_targets, n_tokens, reduction: None })
    }

    /// Summands of this rank in the flat sums.
    pub(crate) fn summands(self, stores: &[&Parameters]) -> Result<Tensor> {
        let Self { loss, grads, n_targets, n_tokens } = self;
        let counts = [n_targets, n_tokens].map(|n| [(n / BASE) as f32, (n % BASE) as f32]);
        flat_summands(counts.as_flattened(), loss, grads, n_targets as f64, stores)
    }
}

impl BatchGradients {
    /// Loss and gradients from the flat sums over all ranks.
    pub(crate) fn from_sums(sums: &Tensor, stores: &[&Parameters]) -> Result<Self> {
        let counts = to_host(sums, 4)?;
        let count = |i: usize| counts[i] as usize * BASE + counts[i + 1] as usize;
        let (n_targets, n_tokens) = (count(0), count(2));
        ensure!(n_targets > 0, NO_TARGETS);
        let (loss, grads) = divided(sums, counts.len(), n_targets as f64, stores)?;
        Ok(Self { loss, grads, n_targets, n_tokens, reduction: None })
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
        let summands = flat_summands(&[n_parts], loss, grads, f64::from(n_parts), stores)?;
        let sums = ranks.all_reduce(summands)?;
        ensure!(to_host(&sums, 1)?[0] > 0., NO_TARGETS);
        divided(&sums, 1, 1., stores)
    }
}

/// Summands of one rank, f32 on the device of the parameters: `counts`, then times `weight` the
/// loss as two numbers and, behind a 1 for each parameter that has a gradient, the gradients, 0
/// where there is none.
fn flat_summands(
    counts: &[f32],
    loss: f64,
    grads: Option<GradStore>,
    weight: f64,
    stores: &[&Parameters],
) -> Result<Tensor> {
    let loss = if weight > 0. { loss * weight } else { 0. };
    let rounded = loss as f32;
    let mut head = [counts, &[rounded, (loss - f64::from(rounded)) as f32]].concat();
    let parameters = trainable(stores);
    let grads = grads.filter(|_| weight > 0.);
    let grad = |parameter: &Parameter| grads.as_ref()?.get(parameter.var.as_tensor());
    head.extend(parameters.iter().map(|&p| f32::from(u8::from(grad(p).is_some()))));
    let n_values: usize = parameters.iter().map(|p| p.var.elem_count()).sum();
    let device = stores.first().map_or(Device::Cpu, |store| store.device().clone());
    let sums = Tensor::zeros(head.len() + n_values, DType::F32, &device)?;
    sums.slice_set(&Tensor::new(&head[..], &device)?, 0, 0)?;
    let mut start = head.len();
    for parameter in parameters {
        if let Some(grad) = grad(parameter) {
            let grad = (grad.to_dtype(DType::F32)?.flatten_all()? * weight)?;
            sums.slice_set(&grad, 0, start)?;
        }
        start += parameter.var.elem_count();
    }
    Ok(sums)
}

/// Loss and gradients from flat `sums` with `n_counts` counts, divided by `divisor`.
fn divided(
    sums: &Tensor,
    n_counts: usize,
    divisor: f64,
    stores: &[&Parameters],
) -> Result<(f64, GradStore)> {
    let parameters = trainable(stores);
    let mut start = n_counts + 2 + parameters.len();
    let head = to_host(sums, start)?;
    let (loss, n_ranks) = head[n_counts..].split_at(2);
    let loss = (f64::from(loss[0]) + f64::from(loss[1])) / divisor;
    let divisor = Tensor::new(divisor as f32, sums.device())?;
    let mut grads = backward(&Tensor::new(0f32, &Device::Cpu)?)?; // an empty store
    for (parameter, &n_ranks) in parameters.iter().zip(n_ranks) {
        let var = &parameter.var;
        if n_ranks > 0. {
            let sum = sums.narrow(0, start, var.elem_count())?.reshape(var.shape())?;
            let grad = sum.broadcast_div(&divisor)?.to_dtype(var.dtype())?;
            grads.insert(var.as_tensor(), grad);
        }
        start += var.elem_count();
    }
    Ok((loss, grads))
}

/// The first `n` of the flat `sums`. Candle reads all memory that a view is of, so the view is
/// copied on the device first.
fn to_host(sums: &Tensor, n: usize) -> Result<Vec<f32>> {
    Ok(sums.narrow(0, 0, n)?.force_contiguous()?.to_vec1()?)
}

fn trainable<'a>(stores: &[&'a Parameters]) -> Vec<&'a Parameter> {
    stores.iter().flat_map(|store| store.trainable()).collect()
}
