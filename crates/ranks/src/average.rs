//! Loss and gradients of all ranks: their mean, weighted by what each has learned from, or their
//! sum.

use anyhow::{Context, Result, ensure};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};
use tensor_core::{Parameter, Parameters, backward};

use crate::Ranks;

/// A count c travels as two numbers, c / 4096 and c mod 4096, since f32 has integers up to 2²⁴.
const BASE: usize = 4096;

/// Numbers at the beginning of the flat sums: two counts and the loss, as two numbers each.
const COUNTS_AND_LOSS: usize = 6;

/// Relation of the loss of a rank to that of the batch.
#[derive(Clone, Copy)]
pub(crate) enum Reduction {
    /// A mean over the rank's targets, of the mean over all targets.
    Mean,
    /// A part of a sum.
    Sum,
}

const NO_TARGETS: &str = "the batches of this step have no targets: every token is masked";

/// Loss and gradients of the rows of a batch that one rank has.
pub struct RankGradients {
    /// Mean loss over the targets, or part of a sum.
    pub loss: f64,
    /// Gradients of that loss; `None` without a row.
    pub grads: Option<GradStore>,
    /// Number of targets, the tokens that were learned from.
    pub n_targets: usize,
    /// Number of input tokens.
    pub n_tokens: usize,
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
        self.reduce(ranks, stores, Reduction::Mean)
    }

    /// Like [`average`](Self::average), where the losses of the ranks are parts of a sum, each
    /// divided by a number of the whole batch already.
    ///
    /// # Errors
    /// Those of [`average`](Self::average).
    pub fn sum(self, ranks: &Ranks, stores: &[&Parameters]) -> Result<BatchGradients> {
        self.reduce(ranks, stores, Reduction::Sum)
    }

    fn reduce(
        self,
        ranks: &Ranks,
        stores: &[&Parameters],
        reduction: Reduction,
    ) -> Result<BatchGradients> {
        if ranks.are_several() {
            let sums = ranks.all_reduce(self.weighted(stores, reduction)?)?;
            return BatchGradients::from_sums(&sums, stores, reduction);
        }
        let Self { loss, grads, n_targets, n_tokens } = self;
        let grads = grads.filter(|_| n_targets > 0).context(NO_TARGETS)?;
        Ok(BatchGradients { loss, grads, n_targets, n_tokens })
    }

    /// Summands of this rank in the flat sums, f32 on the device of the parameters: counts, loss, a
    /// 1 for each parameter that has a gradient, and the gradients, 0 where there is none.
    pub(crate) fn weighted(self, stores: &[&Parameters], reduction: Reduction) -> Result<Tensor> {
        let weight = match reduction {
            Reduction::Mean => self.n_targets as f64,
            Reduction::Sum => f64::from(u8::from(self.grads.is_some())),
        };
        let mut head: Vec<f32> = Vec::new();
        for count in [self.n_targets, self.n_tokens] {
            head.extend([(count / BASE) as f32, (count % BASE) as f32]);
        }
        let loss = if weight > 0. { self.loss * weight } else { 0. };
        let rounded = loss as f32;
        head.extend([rounded, (loss - f64::from(rounded)) as f32]);
        let parameters = trainable(stores);
        let grads = self.grads.filter(|_| weight > 0.);
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
}

impl BatchGradients {
    /// Loss and gradients from the flat sums of all ranks.
    pub(crate) fn from_sums(
        sums: &Tensor,
        stores: &[&Parameters],
        reduction: Reduction,
    ) -> Result<Self> {
        let parameters = trainable(stores);
        let mut start = COUNTS_AND_LOSS + parameters.len();
        // Candle reads all memory that a view is of, so the view is copied on the device first.
        let head: Vec<f32> = sums.narrow(0, 0, start)?.force_contiguous()?.to_vec1()?;
        let count = |i: usize| head[i] as usize * BASE + head[i + 1] as usize;
        let (n_targets, n_tokens) = (count(0), count(2));
        ensure!(n_targets > 0, NO_TARGETS);
        let divisor = match reduction {
            Reduction::Mean => n_targets as f64,
            Reduction::Sum => 1.,
        };
        let loss = (f64::from(head[4]) + f64::from(head[5])) / divisor;
        let divisor = Tensor::new(divisor as f32, sums.device())?;
        let mut grads = backward(&Tensor::new(0f32, &Device::Cpu)?)?; // an empty store
        for (parameter, &n_ranks) in parameters.iter().zip(&head[COUNTS_AND_LOSS..]) {
            let var = &parameter.var;
            if n_ranks > 0. {
                let sum = sums.narrow(0, start, var.elem_count())?.reshape(var.shape())?;
                let grad = sum.broadcast_div(&divisor)?.to_dtype(var.dtype())?;
                grads.insert(var.as_tensor(), grad);
            }
            start += var.elem_count();
        }
        Ok(Self { loss, grads, n_targets, n_tokens })
    }
}

fn trainable<'a>(stores: &[&'a Parameters]) -> Vec<&'a Parameter> {
    stores.iter().flat_map(|store| store.trainable()).collect()
}
