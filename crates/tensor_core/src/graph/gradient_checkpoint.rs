//! Gradient checkpointing: discard the activations inside a layer and recompute them in the
//! backward pass (Chen et al., <https://arxiv.org/abs/1604.06174>).
//!
//! Only the input of each layer is saved, so memory grows with the size of these inputs and not
//! with that of all activations; in exchange, the forward pass runs a second time.

use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Result, Storage, Tensor, Var, bail};

use super::backward::backward;
use super::bridge::result_of;
use super::node::{Node, Source, lock};
use crate::Dropout;

/// `f(x)`, of which only `x` is saved. The backward pass calls `f` again, and `dropout` generates
/// the same masks again.
///
/// `f` may use any parameters; all of them get the same gradients as without checkpointing.
///
/// # Errors
/// Those of `f`.
pub fn gradient_checkpoint(
    x: &Tensor,
    dropout: &Dropout,
    f: impl Fn(&Tensor) -> Result<Tensor> + Send + 'static,
) -> Result<Tensor> {
    let mut all = gradient_checkpoint_all(x, dropout, move |x| Ok(vec![f(x)?]))?;
    Ok(all.pop().expect("one result"))
}

/// [`gradient_checkpoint`] for an `f` with several results, any of which may be unused. `f` is
/// recomputed once for all of them.
///
/// # Errors
/// Those of `f`.
pub fn gradient_checkpoint_all(
    x: &Tensor,
    dropout: &Dropout,
    f: impl Fn(&Tensor) -> Result<Vec<Tensor>> + Send + 'static,
) -> Result<Vec<Tensor>> {
    let rng_state = dropout.rng_state();
    let all = f(&x.detach())?; // the graph of `f` and its activations are freed here
    if !x.track_op() && !all.iter().any(Tensor::track_op) {
        return Ok(all);
    }
    let (x, source, dropout) = (x.detach(), Source::of(x), dropout.clone());
    let grads: Arc<Mutex<Vec<Option<Tensor>>>> = Arc::new(Mutex::new(vec![None; all.len()]));
    let node_grads = grads.clone();
    let recompute = move |_: &Tensor| {
        let x = Var::from_tensor(&x)?;
        let all = dropout.with_rng_state(rng_state, || f(x.as_tensor()))?;
        let mut sum = Tensor::zeros((), DType::F32, x.device())?;
        for (y, grad) in all.iter().zip(lock(&node_grads).drain(..)) {
            if let Some(grad) = grad {
                // The gradient of this term with respect to y is `grad`.
                let term = (y * grad.to_device(y.device())?)?.sum_all()?;
                sum = (sum + term.to_dtype(DType::F32)?)?;
            }
        }
        let mut grads = backward(&sum)?;
        Ok((vec![grads.remove(x.as_tensor())], Some(grads)))
    };
    // This node is older than all results, so it runs once every used result has stored its
    // gradient.
    let recompute_node = Node::new("gradient_checkpoint", &().into(), vec![source], recompute);
    store_gradients("gradient_checkpoint", &all, &recompute_node, &grads)
}

/// Results with the values of `all`, whose gradients are put into their places in `grads` before
/// `node` runs, which computes those of its inputs from them.
pub(super) fn store_gradients(
    name: &'static str,
    all: &[Tensor],
    node: &Arc<Node>,
    grads: &Arc<Mutex<Vec<Option<Tensor>>>>,
) -> Result<Vec<Tensor>> {
    let results = all.iter().enumerate().map(|(i, y)| {
        let grads = grads.clone();
        let store_grad = move |grad: &Tensor| {
            lock(&grads)[i] = Some(grad.clone());
            Ok((vec![Some(Tensor::zeros((), DType::F32, &Device::Cpu)?)], None))
        };
        if !y.dtype().is_float() {
            return Ok(y.clone()); // integers have no gradient
        }
        let source = Some(Source::Node(node.clone()));
        as_result_of(&y.detach(), Node::new(name, y.shape(), vec![source], store_grad))
    });
    results.collect()
}

/// Values of `y` as the result of `node`.
pub(super) fn as_result_of(y: &Tensor, node: Arc<Node>) -> Result<Tensor> {
    let on_cpu = y.device().is_cpu();
    let values = match on_cpu {
        true => y.force_contiguous()?,
        // Nodes have results on the CPU; on another device, add zeros that the node made to y.
        false => Tensor::zeros(y.shape(), y.dtype(), &Device::Cpu)?,
    };
    let storage = match &*values.storage_and_layout().0 {
        Storage::Cpu(storage) => storage.clone(),
        _ => bail!("gradient_checkpoint: expected a tensor on the CPU"),
    };
    let result = result_of(node, storage, y.shape().clone())?;
    if on_cpu { Ok(result) } else { y + result.to_device(y.device())? }
}
