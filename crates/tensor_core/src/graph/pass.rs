//! Backward pass: accumulation of gradients and their propagation to inputs.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor};

use super::bridge::{FixedGradient, candle_backward};
use super::{Node, Source};
use crate::ops::add::add_untracked;

/// Gradients of nodes that have not been propagated yet.
pub(super) type NodeGradients = Vec<(Arc<Node>, Tensor)>;

/// State of a backward pass.
pub(super) struct BackwardPass {
    /// Gradients of the variables.
    pub(super) grads: GradStore,
    /// Nodes whose result has a gradient, by creation order.
    pub(super) pending: BTreeMap<u64, (Arc<Node>, Tensor)>,
}

impl BackwardPass {
    /// Adds `grad` to the gradient of `source`.
    pub(super) fn propagate(&mut self, source: Source, grad: Tensor) -> Result<()> {
        match source {
            Source::Variable(variable) => {
                let earlier = self.grads.remove(&variable);
                self.grads.insert(
                    &variable,
                    earlier.map_or(Ok(grad.clone()), |b| add_untracked(&b, &grad))?,
                );
                Ok(())
            }
            Source::Node(node) => self.accumulate(vec![(node, grad)]),
            Source::Candle(x) => {
                let sum = match x.device().is_cpu() {
                    true => x.apply_op1(FixedGradient(grad))?,
                    false => (&x * grad.to_device(x.device())?)?.sum_all()?,
                };
                let (grads, node_grads) = candle_backward(&sum)?;
                self.grads.extend(grads)?;
                self.accumulate(node_grads)
            }
        }
    }

    /// Adds gradients to the pending nodes.
    pub(super) fn accumulate(&mut self, node_grads: NodeGradients) -> Result<()> {
        for (node, grad) in node_grads {
            let grad = grad.reshape(&node.shape)?;
            let grad = match self.pending.remove(&node.order) {
                Some((_, earlier)) => add_untracked(&earlier, &grad)?,
                None => grad,
            };
            self.pending.insert(node.order, (node, grad));
        }
        Ok(())
    }
}
