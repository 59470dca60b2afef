//! Tensors as the pickle describes them: views of files of numbers.

use std::rc::Rc;

use anyhow::{Context, Result};
use candle_core::DType;

/// File of numbers.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Storage {
    pub(super) key: Rc<str>,
    /// `None` for types that cannot be weights.
    pub(super) dtype: Option<DType>,
}

/// Tensor: a view of a storage.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct View {
    pub(super) storage: Rc<Storage>,
    pub(super) offset: usize,
    pub(super) size: Vec<usize>,
    pub(super) stride: Vec<usize>,
}

impl View {
    /// Bytes of the elements in row-major order, each of `width` bytes.
    pub(super) fn bytes(&self, storage: &[u8], width: usize) -> Result<Vec<u8>> {
        let n = self.size.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
        // A stride of 0 would repeat numbers.
        let fits = |n: &usize| *n <= storage.len() / width && self.size.len() == self.stride.len();
        let n = n.filter(fits).context("it is larger than its file of numbers")?;
        let mut bytes = Vec::with_capacity(n * width);
        let mut index = vec![0; self.size.len()];
        for _ in 0..n {
            let products = index.iter().zip(&self.stride).map(|(i, stride)| stride.checked_mul(*i));
            let element = products
                .into_iter()
                .try_fold(self.offset, |sum, product| sum.checked_add(product?));
            let start = element.and_then(|element| element.checked_mul(width));
            let number = start.and_then(|start| storage.get(start..start.checked_add(width)?));
            bytes.extend(number.context("it reaches beyond its file of numbers")?);
            for (i, &size) in index.iter_mut().zip(&self.size).rev() {
                *i += 1;
                if *i < size {
                    break;
                }
                *i = 0;
            }
        }
        Ok(bytes)
    }
}
