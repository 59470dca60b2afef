//! Activation recomputation: forget what happened inside a layer, and run it again when its gradient is wanted
//! (Chen et al., <https://arxiv.org/abs/1604.06174>).
//!
//! Of every layer only its input is kept, so memory grows with the width of the model's seams and no longer with all that
//! happens between them; the price is a second forward pass.

use std::sync::{Arc, Mutex};

use candle_core::{Device, Result, Storage, Tensor, Var, bail};

use super::bridge::{Recorded, stub};
use super::{Node, Source, backward};
use crate::Dropout;

/// `f(x)`, of which only `x` is kept. The backward pass calls `f` again, and `dropout` drops the same numbers again.
///
/// `f` may use any parameters; all of them get the gradients that they would have got.
///
/// # Errors
/// What `f` says.
pub fn recompute(
    x: &Tensor,
    dropout: &Dropout,
    f: impl Fn(&Tensor) -> Result<Tensor> + Send + 'static,
) -> Result<Tensor> {
    let stream = dropout.stream();
    let y = f(&x.detach())?; // its graph ends here, with all that it keeps
    if !y.track_op() && !x.track_op() {
        return Ok(y);
    }
    let (x, source, dropout) = (x.detach(), Source::of(x), dropout.clone());
    let again = move |grad: &Tensor| {
        let x = Var::from_tensor(&x)?;
        let y = dropout.replay(stream, || f(x.as_tensor()))?;
        let grad = grad.to_device(y.device())?;
        let mut grads = backward(&(y * grad)?.sum_all()?)?; // the gradient of this sum by y is `grad`
        Ok((vec![grads.remove(x.as_tensor())], Some(grads)))
    };
    let node = Node::new("recompute", y.shape(), vec![source], again);
    stand_for(&y.detach(), node)
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
