//! A matrix of blocks: checked once when it is made, then only read.

use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Result, Tensor, bail};

use super::format::Quantization;
use super::{large_batch, numbers, small_batch};
use crate::ops::storage::values;

/// A matrix of (rows, columns) in one of ggml's formats. Clones share the bytes.
#[derive(Debug, Clone)]
pub struct QuantizedMatrix {
    format: Quantization,
    rows: usize,
    columns: usize,
    bytes: Arc<Vec<u8>>,
}

impl QuantizedMatrix {
    /// A matrix of (rows, columns) from its blocks, row by row, as a GGUF file has them.
    ///
    /// # Errors
    /// When there are no numbers, a row is not whole blocks, or `bytes` has another size than that.
    pub fn new(
        format: Quantization,
        (rows, columns): (usize, usize),
        bytes: Vec<u8>,
    ) -> Result<Self> {
        let expected = check_size(format, (rows, columns))?;
        if bytes.len() != expected {
            bail!(
                "{} matrix of {rows} by {columns}: {expected} bytes expected, found {}",
                format.name(),
                bytes.len()
            )
        }
        Ok(Self { format, rows, columns, bytes: Arc::new(bytes) })
    }

    /// Rounds a matrix of (rows, columns) in f32 as ggml does.
    ///
    /// # Errors
    /// When it is not such a matrix, is empty, or its rows are not whole blocks.
    pub fn quantize(format: Quantization, matrix: &Tensor) -> Result<Self> {
        let (rows, columns) = matrix.dims2()?;
        check_size(format, (rows, columns))?;
        if matrix.dtype() != DType::F32 {
            bail!("quantize: expected f32, found {:?}", matrix.dtype())
        }
        let matrix = matrix.to_device(&Device::Cpu)?.contiguous()?;
        let quantized = QTensor::quantize(&matrix, ggml(format))?;
        Self::new(format, (rows, columns), quantized.data()?.into_owned())
    }

    /// (rows, columns).
    pub fn dims(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// The format of its blocks.
    pub fn format(&self) -> Quantization {
        self.format
    }

    /// How much memory the blocks take.
    pub fn size_in_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// All numbers, (rows, columns) in f32.
    pub fn dequantize(&self) -> Result<Tensor> {
        let numbers = numbers::all(self);
        Tensor::from_vec(numbers, (self.rows, self.columns), &Device::Cpu)
    }

    /// The numbers of some rows, (n, columns) in f32: the embeddings of n tokens.
    ///
    /// # Errors
    /// When there are no ids, or one is not below the number of rows.
    pub fn dequantize_rows(&self, ids: &[u32]) -> Result<Tensor> {
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.rows) {
            bail!("rows: id {id} lies outside the {} rows of the matrix", self.rows)
        }
        if ids.is_empty() {
            bail!("rows: no ids")
        }
        let mut numbers = vec![0.; ids.len() * self.columns];
        for (numbers, id) in numbers.chunks_exact_mut(self.columns).zip(ids) {
            let row = self.panel(*id as usize, 1);
            numbers::write(self.format, row, self.columns, (numbers, self.columns));
        }
        Tensor::from_vec(numbers, (ids.len(), self.columns), &Device::Cpu)
    }

    /// The matrix whose row i is row `order[i]` of this one. A row is whole blocks, so none is rounded again.
    ///
    /// # Errors
    /// When `order` is empty or names a row that there is not.
    pub fn permute_rows(&self, order: &[usize]) -> Result<Self> {
        if let Some(row) = order.iter().find(|row| **row >= self.rows) {
            bail!("permute_rows: row {row} lies outside the {} rows of the matrix", self.rows)
        }
        let bytes = order.iter().flat_map(|row| self.panel(*row, 1)).copied().collect();
        Self::new(self.format, (order.len(), self.columns), bytes)
    }

    /// x Wᵀ of `x: (.., columns)` in f32 on the CPU, giving (.., rows).
    ///
    /// For up to 16 rows, x is rounded to 8 bits with a scale per 32 numbers: each term of a sum is off by at most
    /// |w| · max |x| / 254, the maximum over those 32; by a 254th of that where weights have more than 4 bits. For more
    /// rows nothing is rounded.
    ///
    /// # Errors
    /// When x is of another type, on another device, empty, or has other columns than this.
    pub fn matmul(&self, x: &Tensor) -> Result<Tensor> {
        let problem = if x.elem_count() == 0 {
            "an empty tensor"
        } else if x.dtype() != DType::F32 || !x.device().is_cpu() {
            "not f32 on the CPU"
        } else if x.dims().last() != Some(&self.columns) {
            "shapes do not fit"
        } else {
            let x = x.contiguous()?;
            let dims = [&x.dims()[..x.rank() - 1], &[self.rows]].concat();
            let x = values::<f32>(&x)?;
            let y = if x.len() / self.columns <= small_batch::MOST {
                small_batch::product(self, &x)
            } else {
                large_batch::product(self, &x)
            };
            return Tensor::from_vec(y, dims, &Device::Cpu);
        };
        bail!(
            "quantized product: {problem}: x {:?} ({:?}, {:?}), weight {} {:?}",
            x.dims(),
            x.dtype(),
            x.device().location(),
            self.format.name(),
            self.dims(),
        )
    }

    /// Bytes per row.
    pub(super) fn row_bytes(&self) -> usize {
        self.columns / self.format.block_size() * self.format.block_bytes()
    }

    /// The bytes of `rows` rows from `first` on.
    pub(crate) fn panel(&self, first: usize, rows: usize) -> &[u8] {
        &self.bytes[first * self.row_bytes()..][..rows * self.row_bytes()]
    }
}

/// How many bytes such a matrix takes.
fn check_size(format: Quantization, (rows, columns): (usize, usize)) -> Result<usize> {
    let (name, numbers) = (format.name(), format.block_size());
    if rows == 0 || columns == 0 {
        bail!("{name} matrix of {rows} by {columns}: no numbers")
    }
    if columns % numbers != 0 {
        bail!("{name} matrix of {rows} by {columns}: rows are not whole blocks of {numbers}")
    }
    // The numbers as f32 must fit as well, or dequantize could not even say how many there are.
    let countable = rows.checked_mul(columns).and_then(|n| n.checked_mul(size_of::<f32>()));
    match countable {
        Some(_) => Ok(rows * (columns / numbers) * format.block_bytes()),
        None => bail!("{name} matrix of {rows} by {columns}: too large"),
    }
}

fn ggml(format: Quantization) -> GgmlDType {
    match format {
        Quantization::Q8_0 => GgmlDType::Q8_0,
        Quantization::Q4_0 => GgmlDType::Q4_0,
        Quantization::Q4_1 => GgmlDType::Q4_1,
        Quantization::Q4K => GgmlDType::Q4K,
        Quantization::Q6K => GgmlDType::Q6K,
    }
}
