//! Ties a fused operation into candle's graph: its result is computed already, its backward pass is a closure.
//!
//! candle's `CustomOp` traits hand over untyped storage and know one to three inputs; this is the one place that deals
//! with it. What the closure captures (a log-sum, say) lives as long as the graph does.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, InplaceOp1, Layout, Result, Shape, Storage,
    Tensor, bail,
};

use super::cpu::Real;

/// Opens a contiguous CPU tensor of `T` for reading: a slice of its numbers for as long as the result lives.
pub(crate) fn values<T: Real>(x: &Tensor) -> Result<impl Deref<Target = [T]>> {
    let (storage, layout) = x.storage_and_layout();
    let Some(range) = layout.contiguous_offsets() else { bail!("not contiguous: {layout:?}") };
    match &*storage {
        Storage::Cpu(numbers) if numbers.as_slice::<T>().is_ok() => {}
        _ => bail!("expected {:?} on the CPU, found {:?} on {:?}", T::DTYPE, x.dtype(), x.device()),
    }
    Ok(Values { storage, range, number: PhantomData })
}

struct Values<S, T> {
    storage: S,
    range: (usize, usize),
    number: PhantomData<T>,
}

impl<S: Deref<Target = Storage>, T: Real> Deref for Values<S, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &*self.storage {
            Storage::Cpu(numbers) => {
                let numbers = numbers.as_slice::<T>().expect("checked when it was opened");
                &numbers[self.range.0..self.range.1]
            }
            _ => unreachable!("checked when it was opened"),
        }
    }
}

type Backward<const N: usize> =
    dyn Fn([&Tensor; N], &Tensor) -> Result<[Option<Tensor>; N]> + Send + Sync;

/// Runs `work` on the numbers of a contiguous CPU tensor of `T`, in place: every tensor that shares them sees it.
pub(crate) fn write<T: Real>(x: &Tensor, work: impl FnOnce(&mut [T])) -> Result<()> {
    struct Write<F, T>(Cell<Option<F>>, PhantomData<T>);
    impl<F: FnOnce(&mut [T]), T: Real> InplaceOp1 for Write<F, T> {
        fn name(&self) -> &'static str {
            "write"
        }

        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
            match (T::slice_mut(storage), layout.contiguous_offsets(), self.0.take()) {
                (Some(numbers), Some((start, end)), Some(work)) => work(&mut numbers[start..end]),
                _ => {
                    bail!("write: expected a contiguous tensor of {:?}, found {layout:?}", T::DTYPE)
                }
            }
            Ok(())
        }
    }
    x.inplace_op1(&Write(Cell::new(Some(work)), PhantomData))
}

/// A result and its backward pass on their way into the graph.
pub(crate) struct Node<const N: usize> {
    name: &'static str,
    result: Mutex<Option<(CpuStorage, Shape)>>,
    backward: Box<Backward<N>>,
}

impl<const N: usize> Node<N> {
    fn take(&self) -> Result<(CpuStorage, Shape)> {
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        match result.take() {
            Some(result) => Ok(result),
            None => bail!("{}: the result was taken before", self.name),
        }
    }
}

/// The tensor of `result`, whose gradient goes to `inputs` as `backward(inputs, grad)` says; `grad` is contiguous.
pub(crate) fn attach<T: Real, const N: usize>(
    name: &'static str,
    inputs: [&Tensor; N],
    result: Vec<T>,
    shape: impl Into<Shape>,
    backward: impl Fn([&Tensor; N], &Tensor) -> Result<[Option<Tensor>; N]> + Send + Sync + 'static,
) -> Result<Tensor>
where
    Node<N>: Attach<N>,
{
    let result = Mutex::new(Some((T::to_cpu_storage_owned(result), shape.into())));
    Node { name, result, backward: Box::new(backward) }.attach(inputs)
}

/// Implemented for as many inputs as candle's custom operations can have.
pub(crate) trait Attach<const N: usize> {
    fn attach(self, inputs: [&Tensor; N]) -> Result<Tensor>;
}

impl Attach<1> for Node<1> {
    fn attach(self, [a]: [&Tensor; 1]) -> Result<Tensor> {
        a.apply_op1(self)
    }
}

impl Attach<2> for Node<2> {
    fn attach(self, [a, b]: [&Tensor; 2]) -> Result<Tensor> {
        a.apply_op2(b, self)
    }
}

impl Attach<3> for Node<3> {
    fn attach(self, [a, b, c]: [&Tensor; 3]) -> Result<Tensor> {
        a.apply_op3(b, c, self)
    }
}

impl CustomOp1 for Node<1> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.take()
    }

    fn bwd(&self, a: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let [a] = (self.backward)([a], &grad.contiguous()?)?;
        Ok(a)
    }
}

impl CustomOp2 for Node<2> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.take()
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [a, b] = (self.backward)([a, b], &grad.contiguous()?)?;
        Ok((a, b))
    }
}

impl CustomOp3 for Node<3> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.take()
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [a, b, c] = (self.backward)([a, b, c], &grad.contiguous()?)?;
        Ok((a, b, c))
    }
}
