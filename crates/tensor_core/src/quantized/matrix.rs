//! Quantized matrix: validated once when it is created, then read-only.

use std::sync::Arc;

use candle_core::quantized::QTensor;
use candle_core::{DType, Device, Result, Tensor, bail};

use super::format::{Quantization, by_format};
use crate::graph::{is_tracked, record};
use crate::kernels::quantized::{dequantize, dequantize_rows, matmul, matmul_f32};
use crate::kernels::values;

/// Matrix (rows, columns) in one of ggml's formats. Clones share the bytes.
#[derive(Debug, Clone)]
pub struct QuantizedMatrix {
    format: Quantization,
    rows: usize,
    columns: usize,
    bytes: Arc<Vec<u8>>,
}

impl QuantizedMatrix {
    /// Matrix (rows, columns) from its blocks, row by row, as in a GGUF file.
    ///
    /// # Errors
    /// When the matrix is empty, a row is not a whole number of blocks, or `bytes` has the wrong
    /// length.
    pub fn new(format: Quantization, rows: usize, columns: usize, bytes: Vec<u8>) -> Result<Self> {
        let expected = check_size(format, rows, columns)?;
        if bytes.len() != expected {
            bail!(
                "{} matrix of {rows} by {columns}: {expected} bytes expected, found {}",
                format.name(),
                bytes.len()
            )
        }
        Ok(Self { format, rows, columns, bytes: Arc::new(bytes) })
    }

    /// Quantizes an f32 matrix (rows, columns), with the rounding of ggml.
    ///
    /// # Errors
    /// When it is not an f32 matrix, is empty, or its rows are not a whole number of blocks.
    pub fn quantize(format: Quantization, matrix: &Tensor) -> Result<Self> {
        let (rows, columns) = matrix.dims2()?;
        check_size(format, rows, columns)?;
        if matrix.dtype() != DType::F32 {
            bail!("quantize: expected f32, found {:?}", matrix.dtype())
        }
        let matrix = matrix.to_device(&Device::Cpu)?.contiguous()?;
        let quantized = QTensor::quantize(&matrix, format.ggml_dtype())?;
        Self::new(format, rows, columns, quantized.data()?.into_owned())
    }

    /// Shape (rows, columns).
    pub fn dims(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// Format of the blocks.
    pub fn format(&self) -> Quantization {
        self.format
    }

    /// Size of the blocks in bytes.
    pub fn size_in_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// All weights, (rows, columns) in f32.
    pub fn dequantize(&self) -> Result<Tensor> {
        let values = by_format!(self.format, dequantize(&self.bytes, self.columns));
        Tensor::from_vec(values, (self.rows, self.columns), &Device::Cpu)
    }

    /// Weights of some rows, (n, columns) in f32: the embeddings of n tokens.
    ///
    /// # Errors
    /// When there are no ids, or an id is not below the number of rows.
    pub fn dequantize_rows(&self, ids: &[u32]) -> Result<Tensor> {
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.rows) {
            bail!("rows: id {id} lies outside the {} rows of the matrix", self.rows)
        }
        if ids.is_empty() {
            bail!("rows: no ids")
        }
        let mut numbers = vec![0.; ids.len() * self.columns];
        for (numbers, id) in numbers.chunks_exact_mut(self.columns).zip(ids) {
            let (row, columns) = (self.row(*id as usize), self.columns);
            by_format!(self.format, dequantize_rows(row, columns, numbers, columns));
        }
        Tensor::from_vec(numbers, (ids.len(), self.columns), &Device::Cpu)
    }

    /// Matrix whose row i is row `order[i]` of this one. A row is a whole number of blocks, so
    /// nothing is rounded again.
    ///
    /// # Errors
    /// When `order` is empty or names a row that does not exist.
    pub fn permute_rows(&self, order: &[usize]) -> Result<Self> {
        if let Some(row) = order.iter().find(|row| **row >= self.rows) {
            bail!("permute_rows: row {row} lies outside the {} rows of the matrix", self.rows)
        }
        let bytes = order.iter().flat_map(|row| self.row(*row)).copied().collect();
        Self::new(self.format, order.len(), self.columns, bytes)
    }

    /// x Wᵀ for `x: (.., columns)` in f32 on the CPU, giving (.., rows); differentiable in x, while
    /// the weights are constants, as in QLoRA.
    ///
    /// For up to 16 rows, where no gradient is needed, x is quantized to 8 bits with a scale per 32
    /// elements: the error of each term of a sum is at most |w| · max |x| / 254, with the maximum
    /// over those 32; for weights of more than 5 bits, a 254th of that. Otherwise x is not
    /// quantized.
    ///
    /// # Errors
    /// When x has another dtype, is on another device, is empty, or its last dimension differs from
    /// `columns`.
    pub fn matmul(&self, x: &Tensor) -> Result<Tensor> {
        let problem = if x.elem_count() == 0 {
            "an empty tensor"
        } else if x.dtype() != DType::F32 || !x.device().is_cpu() {
            "not f32 on the CPU"
        } else if x.dims().last() != Some(&self.columns) {
            "shapes do not fit"
        } else {
            let dims = [&x.dims()[..x.rank() - 1], &[self.rows]].concat();
            let contiguous = x.contiguous()?;
            let values = values::<f32>(&contiguous)?;
            if !is_tracked(x) {
                let y = by_format!(self.format, matmul(&self.bytes, self.columns, &values));
                return Tensor::from_vec(y, dims, &Device::Cpu);
            }
            let y = by_format!(self.format, matmul_f32(&self.bytes, self.columns, &values));
            let (weight, x_dims) = (self.clone(), x.dims().to_vec());
            return record("quantized matmul", [x], y, dims, move |grad, _| {
                let grad = grad.reshape(((), weight.rows))?; // (N, rows)
                let grad_x = grad.matmul(&weight.dequantize()?)?; // (N, columns)
                Ok([Some(grad_x.reshape(x_dims)?)])
            });
        };
        bail!(
            "quantized matmul: {problem}: x {:?} ({:?}, {:?}), weight {} {:?}",
            x.dims(),
            x.dtype(),
            x.device().location(),
            self.format.name(),
            self.dims(),
        )
    }

    /// Blocks of all rows, row by row.
    pub fn blocks(&self) -> &[u8] {
        &self.bytes
    }

    /// Blocks of a row.
    fn row(&self, row: usize) -> &[u8] {
        let row_bytes = self.bytes.len() / self.rows;
        &self.bytes[row * row_bytes..][..row_bytes]
    }
}

/// Size of such a matrix in bytes.
fn check_size(format: Quantization, rows: usize, columns: usize) -> Result<usize> {
    let (name, numbers) = (format.name(), format.block_size());
    if rows == 0 || columns == 0 {
        bail!("{name} matrix of {rows} by {columns}: empty")
    }
    if !columns.is_multiple_of(numbers) {
        bail!("{name} matrix of {rows} by {columns}: rows are not whole blocks of {numbers}")
    }
    // The size as f32 must fit as well, or `dequantize` would overflow.
    let f32_bytes = rows.checked_mul(columns).and_then(|n| n.checked_mul(size_of::<f32>()));
    match f32_bytes {
        Some(_) => Ok(rows * (columns / numbers) * format.block_bytes()),
        None => bail!("{name} matrix of {rows} by {columns}: too large"),
    }
}
