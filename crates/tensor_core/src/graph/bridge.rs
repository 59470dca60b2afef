//! Bridge between this graph and candle's. candle treats every recorded result as a function of one
//! tiny variable; a gradient that arrives there is recorded for this graph.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, OnceLock};

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor, Var, bail};

use super::node::{Node, lock};

/// Gradients of nodes that have not been propagated yet.
pub(super) type NodeGradients = Vec<(Arc<Node>, Tensor)>;

thread_local! {
    /// Gradients that reached nodes of this graph during a backward pass of candle; `None` at all
    /// other times.
    static NODE_GRADS: RefCell<Option<NodeGradients>> = const { RefCell::new(None) };
}

/// candle's backward pass from `x` up to the nodes of this graph.
pub(super) fn candle_backward(x: &Tensor) -> Result<(GradStore, NodeGradients)> {
    /// Restores the state of an outer backward pass, even when candle panics: one of candle's
    /// operations may itself call `backward`.
    struct Outer(Option<NodeGradients>);
    impl Drop for Outer {
        fn drop(&mut self) {
            NODE_GRADS.set(self.0.take());
        }
    }
    let _outer = Outer(NODE_GRADS.replace(Some(Vec::new())));
    let grads = x.backward()?;
    Ok((grads, NODE_GRADS.take().unwrap_or_default()))
}

/// Tensor of the result of `node`, which candle takes to be a function of one tiny variable.
pub(super) fn result_of(node: Arc<Node>, storage: CpuStorage, shape: Shape) -> Result<Tensor> {
    static VARIABLE: OnceLock<Var> = OnceLock::new();
    if VARIABLE.get().is_none() {
        let variable = Var::zeros((), DType::F32, &Device::Cpu)?;
        let _ = VARIABLE.set(variable); // if another thread was faster, its variable is used
    }
    let variable = VARIABLE.get().expect("set above").as_tensor();
    let result = Mutex::new(Some((storage, shape)));
    let tensor = variable.apply_op1(Recorded { node: node.clone(), result })?;
    node.register(tensor.id());
    Ok(tensor)
}

/// Node in the form of a custom operation of candle.
struct Recorded {
    node: Arc<Node>,
    result: Mutex<Option<(CpuStorage, Shape)>>,
}

impl CustomOp1 for Recorded {
    fn name(&self) -> &'static str {
        self.node.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        match lock(&self.result).take() {
            Some(result) => Ok(result),
            None => bail!("{}: the forward pass ran twice", self.node.name),
        }
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        NODE_GRADS.with_borrow_mut(|node_grads| match node_grads {
            Some(node_grads) => {
                node_grads.push((self.node.clone(), grad.clone()));
                Ok(None)
            }
            None => bail!(
                "{}: differentiate with tensor_core::backward(&loss), not with loss.backward()",
                self.node.name
            ),
        })
    }
}

/// Scalar function whose gradient with respect to its input is a fixed tensor.
pub(super) struct FixedGradient(pub(super) Tensor);

impl CustomOp1 for FixedGradient {
    fn name(&self) -> &'static str {
        "seed"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.]), ().into()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}
