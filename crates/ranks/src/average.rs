//! Loss and gradients of all ranks: their mean, weighted by what each has learned from, or their
//! sum.

use anyhow::{Context, Result, ensure};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};
use tensor_core::{Parameters, backward};

use crate::Ranks;

/// A count c travels as two numbers, c / 4096 and c mod 4096, since f32 has integers up to 2²⁴.
const BASE: usize = 4096;

/// Relation of the loss of a rank to that of the batch.
#[derive(Clone, Copy)]
enum Reduction {
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
            let mut sums = self.weighted(stores, reduction)?;
            ranks.all_reduce_sum(&mut sums)?;
            return BatchGradients::from_sums(&sums, stores, reduction);
        }
        let Self { loss, grads, n_targets, n_tokens } = self;
        let grads = grads.filter(|_| n_targets > 0).context(NO_TARGETS)?;
        Ok(BatchGradients { loss, grads, n_targets, n_tokens })
    }

    /// Flat sums: counts, loss, then each parameter's presence and gradient.
    fn weighted(&self, stores: &[&Parameters], reduction: Reduction) -> Result<Vec<f32>> {
        let weight = match reduction {
            Reduction::Mean => self.n_targets as f64,
            Reduction::Sum => f64::from(u8::from(self.grads.is_some())),
        };
        let mut sums = Vec::new();
        for count in [self.n_targets, self.n_tokens] {
            sums.extend([(count / BASE) as f32, (count % BASE) as f32]);
        }
        let loss = if weight > 0. { self.loss * weight } else { 0. };
        let rounded = loss as f32;
        sums.extend([rounded, (loss - f64::from(rounded)) as f32]);
        for parameter in stores.iter().flat_map(|store| store.trainable()) {
            let variable = parameter.var.as_tensor();
            match self.grads.as_ref().and_then(|grads| grads.get(variable)) {
                Some(grad) if weight > 0. => {
                    let grad = grad.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
                    sums.push(1.);
                    sums.extend(grad.iter().map(|&g| g * weight as f32));
                }
                _ => sums.resize(sums.len() + 1 + parameter.var.elem_count(), 0.),
            }
        }
        Ok(sums)
    }
}

impl BatchGradients {
    fn from_sums(sums: &[f32], stores: &[&Parameters], reduction: Reduction) -> Result<Self> {
        let (head, mut rest) = sums.split_at(6);
        let count = |i: usize| head[i] as usize * BASE + head[i + 1] as usize;
        let (n_targets, n_tokens) = (count(0), count(2));
        ensure!(n_targets > 0, NO_TARGETS);
        let divisor = match reduction {
            Reduction::Mean => n_targets as f64,
            Reduction::Sum => 1.,
        };
        let loss = (f64::from(head[4]) + f64::from(head[5])) / divisor;
        let mut grads = backward(&Tensor::new(0f32, &Device::Cpu)?)?; // an empty store
        for parameter in stores.iter().flat_map(|store| store.trainable()) {
            let (presence, values) = rest.split_at(1);
            let (grad, after) = values.split_at(parameter.var.elem_count());
            rest = after;
            if presence[0] > 0. {
                let grad: Vec<f32> = grad.iter().map(|&g| g / divisor as f32).collect();
                let (shape, device) = (parameter.var.shape(), parameter.var.device());
                let grad =
                    Tensor::from_vec(grad, shape, device)?.to_dtype(parameter.var.dtype())?;
                grads.insert(parameter.var.as_tensor(), grad);
            }
        }
        Ok(Self { loss, grads, n_targets, n_tokens })
    }
}
