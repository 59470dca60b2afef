//! Backward pass: accumulation of gradients and their propagation to inputs.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor};

use super::bridge::{FixedGradient, NodeGradients, candle_backward};
use super::node::{BackwardStep, Node, Source};
use crate::kernels::{Float, broadcast_add, by_type, has_fused_loops, tensor_like, values};

/// Gradients of `loss` with respect to every variable that it depends on; of its sum, if it has
/// more than one element.
///
/// Use it in place of candle's `loss.backward()`, which stops with an error at the first operation
/// of this crate. Variables must still hold the values of the forward pass: operations save their
/// inputs, not copies of them.
///
/// # Errors
/// When an operation has no derivative, or the graph was differentiated before: its memory is freed
/// during the backward pass.
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    let (grads, node_grads) = candle_backward(loss)?;
    let mut pass = BackwardPass { grads, pending: BTreeMap::new() };
    pass.accumulate(node_grads)?;
    while let Some((_, (node, grad))) = pass.pending.pop_last() {
        pass.run(&node, &grad)?;
    }
    Ok(pass.grads)
}

/// State of a backward pass.
struct BackwardPass {
    /// Gradients of the variables.
    grads: GradStore,
    /// Nodes whose result has a gradient, by creation order.
    pending: BTreeMap<u64, (Arc<Node>, Tensor)>,
}

impl BackwardPass {
    /// Propagates the gradient of a node's result to its inputs.
    fn run(&mut self, node: &Node, grad: &Tensor) -> Result<()> {
        let BackwardStep { sources, backward } = node.take_step()?;
        let (grads, others) = backward(&grad.contiguous()?)?;
        for (source, grad) in sources.into_iter().zip(grads) {
            if let (Some(source), Some(grad)) = (source, grad) {
                self.propagate(source, grad)?;
            }
        }
        others.map_or(Ok(()), |others| self.grads.extend(others))
    }

    /// Adds `grad` to the gradient of `source`.
    fn propagate(&mut self, source: Source, grad: Tensor) -> Result<()> {
        match source {
            Source::Variable(variable) => {
                let earlier = self.grads.remove(&variable);
                self.grads.insert(
                    &variable,
                    earlier.map_or(Ok(grad.clone()), |b| add_gradients(&b, &grad))?,
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
    fn accumulate(&mut self, node_grads: NodeGradients) -> Result<()> {
        for (node, grad) in node_grads {
            let grad = grad.reshape(&node.shape)?;
            let grad = match self.pending.remove(&node.order) {
                Some((_, earlier)) => add_gradients(&earlier, &grad)?,
                None => grad,
            };
            self.pending.insert(node.order, (node, grad));
        }
        Ok(())
    }
}

/// Sum of two gradients of one shape.
pub(super) fn add_gradients(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if has_fused_loops(a) { by_type!(a, fused_add(a, b)) } else { a.detach() + b.detach() }
}

fn fused_add<T: Float>(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    tensor_like(broadcast_add::<T>(&values(&a)?, &values(&b)?), &a)
}
