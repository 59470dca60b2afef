//! Recording of operations: the result of a fused loop becomes a function of its inputs.

use std::sync::{Arc, OnceLock};

use candle_core::shape::ShapeWithOneHole;
use candle_core::{Device, Result, Shape, Tensor, WithDType};

use super::bridge::result_of;
use super::node::{Node, Source};

/// View of `x` in another shape, as candle's `reshape`, but without a detour through candle's
/// graph.
pub fn reshape(x: &Tensor, shape: impl ShapeWithOneHole) -> Result<Tensor> {
    let y = x.reshape(shape)?;
    if let Some(node) = Node::of(x) {
        node.register(y.id());
    }
    Ok(y)
}

/// True if a function of `x` would be recorded in the graph.
pub(crate) fn is_tracked(x: &Tensor) -> bool {
    x.track_op()
}

/// Tensor of `result`, recorded as a function of `inputs`.
///
/// `backward(grad, needed)` maps the gradient of the result, contiguous, to those of the inputs. It
/// may skip the gradient of an input that is not `needed`. It must not capture the result, or
/// neither would ever be freed.
pub(crate) fn record<T: WithDType, const N: usize>(
    name: &'static str,
    inputs: [&Tensor; N],
    result: Vec<T>,
    shape: impl Into<Shape>,
    backward: impl FnOnce(&Tensor, [bool; N]) -> Result<[Option<Tensor>; N]> + Send + 'static,
) -> Result<Tensor> {
    record_all(name, &inputs, result, shape, move |grad, needed| {
        let needed = std::array::from_fn(|i| needed[i]);
        Ok(backward(grad, needed)?.into())
    })
}

/// [`record`] for any number of inputs.
pub(crate) fn record_all<T: WithDType>(
    name: &'static str,
    inputs: &[&Tensor],
    result: Vec<T>,
    shape: impl Into<Shape>,
    backward: impl FnOnce(&Tensor, &[bool]) -> Result<Vec<Option<Tensor>>> + Send + 'static,
) -> Result<Tensor> {
    let shape = shape.into();
    let sources: Vec<Option<Source>> = inputs.iter().map(|x| Source::of(x)).collect();
    let needed: Vec<bool> = sources.iter().map(Option::is_some).collect();
    if !needed.contains(&true) {
        return Tensor::from_vec(result, shape, &Device::Cpu);
    }
    let backward = move |grad: &Tensor| Ok((backward(grad, &needed)?, None));
    let node = Node::new(name, &shape, sources, backward);
    result_of(node, T::to_cpu_storage_owned(result), shape)
}

/// [`record`] for an operation whose backward pass reads its result: `backward(result, grad,
/// needed)`.
pub(crate) fn record_with_result<T: WithDType, const N: usize, F>(
    name: &'static str,
    inputs: [&Tensor; N],
    result: Vec<T>,
    shape: impl Into<Shape>,
    backward: F,
) -> Result<Tensor>
where
    F: FnOnce(&Tensor, &Tensor, [bool; N]) -> Result<[Option<Tensor>; N]> + Send + 'static,
{
    let saved = Arc::new(OnceLock::new());
    let saved_result: Arc<OnceLock<Tensor>> = saved.clone();
    let result = record(name, inputs, result, shape, move |grad, needed| {
        backward(saved_result.get().expect("set below"), grad, needed)
    })?;
    let _ = saved.set(result.detach()); // shares the memory, but does not keep the graph alive
    Ok(result)
}
