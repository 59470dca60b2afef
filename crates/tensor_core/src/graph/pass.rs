//! The backward pass: what is on its way, and where it goes next.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor};

use super::bridge::{Seed, through_candle};
use super::{Node, Source};
use crate::ops::add::sum_of;

/// Gradients of results that have not been taken further.
pub(super) type Arrived = Vec<(Arc<Node>, Tensor)>;

/// The state of a backward pass.
pub(super) struct Pass {
    pub(super) grads: GradStore,
    /// Nodes whose result has a gradient, by age.
    pub(super) pending: BTreeMap<u64, (Arc<Node>, Tensor)>,
}

impl Pass {
    pub(super) fn deliver(&mut self, source: Source, grad: Tensor) -> Result<()> {
        match source {
            Source::Variable(variable) => {
                let before = self.grads.remove(&variable);
                self.grads
                    .insert(&variable, before.map_or(Ok(grad.clone()), |b| sum_of(&b, &grad))?);
                Ok(())
            }
            Source::Node(node) => self.take(vec![(node, grad)]),
            Source::Candle(x) => {
                let sum = match x.device().is_cpu() {
                    true => x.apply_op1(Seed(grad))?,
                    false => (&x * grad.to_device(x.device())?)?.sum_all()?,
                };
                let (grads, arrived) = through_candle(&sum)?;
                self.grads.extend(grads)?;
                self.take(arrived)
            }
        }
    }

    pub(super) fn take(&mut self, arrived: Arrived) -> Result<()> {
        for (node, grad) in arrived {
            let grad = grad.reshape(&node.shape)?;
            let grad = match self.pending.remove(&node.order) {
                Some((_, before)) => sum_of(&before, &grad)?,
                None => grad,
            };
            self.pending.insert(node.order, (node, grad));
        }
        Ok(())
    }
}
