//! Where our graph and candle's meet. To candle, every recorded result is a function of one tiny variable; when a gradient
//! arrives there, it is noted for our side.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, OnceLock};

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor, Var, bail};

use super::pass::Arrived;
use super::{Node, lock};

thread_local! {
    /// What reached our nodes while candle differentiates for us; `None` at all other times.
    static ARRIVED: RefCell<Option<Arrived>> = const { RefCell::new(None) };
}

/// Differentiates by candle, up to our nodes.
pub(super) fn through_candle(x: &Tensor) -> Result<(GradStore, Arrived)> {
    /// Puts back what an outer pass had, even when candle panics: an operation of candle's may call [`backward`].
    struct Outer(Option<Arrived>);
    impl Drop for Outer {
        fn drop(&mut self) {
            ARRIVED.set(self.0.take());
        }
    }
    let _outer = Outer(ARRIVED.replace(Some(Vec::new())));
    let grads = x.backward()?;
    Ok((grads, ARRIVED.take().unwrap_or_default()))
}

/// What candle takes every recorded result for a function of.
pub(super) fn stub() -> Result<&'static Tensor> {
    static STUB: OnceLock<Var> = OnceLock::new();
    if STUB.get().is_none() {
        let stub = Var::zeros((), DType::F32, &Device::Cpu)?;
        let _ = STUB.set(stub); // another thread's is as good
    }
    Ok(STUB.get().expect("set above").as_tensor())
}

/// A node as candle sees it.
pub(super) struct Recorded {
    pub(super) node: Arc<Node>,
    pub(super) result: Mutex<Option<(CpuStorage, Shape)>>,
}

impl CustomOp1 for Recorded {
    fn name(&self) -> &'static str {
        self.node.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        match lock(&self.result).take() {
            Some(result) => Ok(result),
            None => bail!("{}: the result was taken before", self.node.name),
        }
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        ARRIVED.with_borrow_mut(|arrived| match arrived {
            Some(arrived) => {
                arrived.push((self.node.clone(), grad.clone()));
                Ok(None)
            }
            None => bail!(
                "{}: differentiate with tensor_core::backward(&loss), not with loss.backward()",
                self.node.name
            ),
        })
    }
}

/// A scalar whose gradient for its input is given.
pub(super) struct Seed(pub(super) Tensor);

impl CustomOp1 for Seed {
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
