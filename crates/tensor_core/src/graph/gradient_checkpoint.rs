//! Activation recomputation: forget what happened inside a layer, and run it again when its gradient is wanted
//! (Chen et al., <https://arxiv.org/abs/1604.06174>).
//!
//! Of every layer only its input is kept, so memory grows with the width of the model's seams and no longer with all that
//! happens between them; the price is a second forward pass.

use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Result, Storage, Tensor, Var, bail};

use super::bridge::{Recorded, stub};
use super::{Node, Source, backward, lock};
use crate::Dropout;

/// `f(x)`, of which only `x` is kept. The backward pass calls `f` again, and `dropout` drops the same numbers again.
///
/// `f` may use any parameters; all of them get the gradients that they would have got.
///
/// # Errors
/// What `f` says.
pub fn gradient_checkpoint(
    x: &Tensor,
    dropout: &Dropout,
    f: impl Fn(&Tensor) -> Result<Tensor> + Send + 'static,
) -> Result<Tensor> {
    let mut all = gradient_checkpoint_all(x, dropout, move |x| Ok(vec![f(x)?]))?;
    Ok(all.pop().expect("one result"))
}

/// The same for an `f` with several results, each of which may or may not be used. It runs again once, for all of them.
///
/// # Errors
/// What `f` says.
pub fn gradient_checkpoint_all(
    x: &Tensor,
    dropout: &Dropout,
    f: impl Fn(&Tensor) -> Result<Vec<Tensor>> + Send + 'static,
) -> Result<Vec<Tensor>> {
    let stream = dropout.stream();
    let all = f(&x.detach())?; // its graph ends here, with all that it keeps
    if !x.track_op() && !all.iter().any(Tensor::track_op) {
        return Ok(all);
    }
    let (x, source, dropout) = (x.detach(), Source::of(x), dropout.clone());
    let grads: Arc<Mutex<Vec<Option<Tensor>>>> = Arc::new(Mutex::new(vec![None; all.len()]));
    let arrived = grads.clone();
    let again = move |_: &Tensor| {
        let x = Var::from_tensor(&x)?;
        let all = dropout.replay(stream, || f(x.as_tensor()))?;
        let mut sum = Tensor::zeros((), DType::F32, &Device::Cpu)?;
        for (y, grad) in all.iter().zip(lock(&arrived).drain(..)) {
            if let Some(grad) = grad {
                let term = (y * grad.to_device(y.device())?)?.sum_all()?; // whose gradient by y is `grad`
                sum = (sum + term.to_dtype(DType::F32)?.to_device(&Device::Cpu)?)?;
            }
        }
        let mut grads = backward(&sum)?;
        Ok((vec![grads.remove(x.as_tensor())], Some(grads)))
    };
    // Older than all results, it runs when each that is used has left its gradient.
    let whole = Node::new("recompute", &().into(), vec![source], again);
    let results = all.iter().enumerate().map(|(i, y)| {
        let grads = grads.clone();
        let leave = move |grad: &Tensor| {
            lock(&grads)[i] = Some(grad.clone());
            Ok((vec![Some(Tensor::zeros((), DType::F32, &Device::Cpu)?)], None))
        };
        if !y.dtype().is_float() {
            return Ok(y.clone()); // integers have no gradient
        }
        let source = Some(Source::Node(whole.clone()));
        stand_for(&y.detach(), Node::new("recompute", y.shape(), vec![source], leave))
    });
    results.collect()
}

/// The values of `y` as the result of `node`.
fn stand_for(y: &Tensor, node: Arc<Node>) -> Result<Tensor> {
    let on_cpu = y.device().is_cpu();
    let values = match on_cpu {
        true => y.force_contiguous()?,
        // Our nodes live on the CPU: elsewhere, y is y and zeros that the node made.
        false => Tensor::zeros(y.shape(), y.dtype(), &Device::Cpu)?,
    };
    let storage = match &*values.storage_and_layout().0 {
        Storage::Cpu(storage) => storage.clone(),
        _ => bail!("recompute: a tensor on the CPU is not there"),
    };
    let result = Mutex::new(Some((storage, y.shape().clone())));
    let result = stub()?.apply_op1(Recorded { node: node.clone(), result })?;
    node.register(result.id());
    if on_cpu { Ok(result) } else { y + result.to_device(y.device())? }
}
