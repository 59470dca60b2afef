//! Access to the elements of a CPU tensor.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Deref;

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Storage, Tensor, WithDType, bail};

use super::float::Float;

/// Elements of a contiguous CPU tensor of `T`, as a slice that can be read as long as the result
/// lives.
pub(crate) fn values<T: WithDType>(x: &Tensor) -> Result<impl Deref<Target = [T]>> {
    let (storage, layout) = x.storage_and_layout();
    let Some(range) = layout.contiguous_offsets() else { bail!("not contiguous: {layout:?}") };
    match &*storage {
        Storage::Cpu(numbers) if numbers.as_slice::<T>().is_ok() => {}
        _ => bail!("expected {:?} on the CPU, found {:?} on {:?}", T::DTYPE, x.dtype(), x.device()),
    }
    Ok(Values { storage, range, number: PhantomData })
}

/// Elements of a CPU tensor of `T` from its first one to the end of its memory, for code that
/// handles the strides.
pub(crate) fn strided_values<T: Float>(x: &Tensor) -> Result<impl Deref<Target = [T]>> {
    let (storage, layout) = x.storage_and_layout();
    let start = layout.start_offset();
    let range = match &*storage {
        Storage::Cpu(numbers) => numbers.as_slice::<T>().map(|numbers| (start, numbers.len())),
        _ => bail!("expected {:?} on the CPU, found {:?} on {:?}", T::DTYPE, x.dtype(), x.device()),
    };
    Ok(Values { storage, range: range?, number: PhantomData })
}

struct Values<S, T> {
    storage: S,
    range: (usize, usize),
    number: PhantomData<T>,
}

impl<S: Deref<Target = Storage>, T: WithDType> Deref for Values<S, T> {
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

/// Runs `work` on the elements of a contiguous CPU tensor of `T`, in place: every tensor that
/// shares the memory changes.
pub(crate) fn write<T: Float>(x: &Tensor, work: impl FnOnce(&mut [T])) -> Result<()> {
    struct Write<F, T>(Cell<Option<F>>, PhantomData<T>);
    impl<F: FnOnce(&mut [T]), T: Float> InplaceOp1 for Write<F, T> {
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

/// CPU tensor of `numbers` in the shape of `like`.
pub(crate) fn tensor_like<T: Float>(numbers: Vec<T>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(numbers, like.shape(), like.device())
}
