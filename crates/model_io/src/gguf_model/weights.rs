//! A GGUF tensor as a layer's weight: unquantized numbers, or quantized blocks.

use anyhow::{Result, bail};
use candle_core::{Device, Tensor};
use half::{bf16, f16};
use tensor_core::Weight;
use tensor_core::quantized::QuantizedMatrix;

use crate::gguf::{Gguf, TensorFormat};
use crate::row_order::permute_rows;

/// Weight `name`, with its rows permuted by `order` if given.
pub(super) fn read(file: &Gguf, name: &str, order: Option<&[usize]>) -> Result<Weight> {
    let (info, bytes) = (file.tensor_info(name)?, file.read_tensor(name)?);
    let dims = &info.dims[..];
    let TensorFormat::Quantized(quantization) = info.format else {
        let numbers = plain_numbers(info.format, &bytes);
        let numbers = match order {
            Some(order) => permute_rows(&numbers, order),
            None => numbers,
        };
        return Ok(Weight::Unquantized(Tensor::from_vec(numbers, dims, &Device::Cpu)?));
    };
    let &[rows, columns] = dims else { bail!("`{name}` is quantized, but not a matrix") };
    let matrix = QuantizedMatrix::new(quantization, (rows, columns), bytes)?;
    Ok(Weight::Quantized(match order {
        Some(order) => matrix.permute_rows(order)?,
        None => matrix,
    }))
}

/// Values of an unquantized format.
pub(super) fn plain_numbers(format: TensorFormat, bytes: &[u8]) -> Vec<f32> {
    let pairs = || bytes.as_chunks::<2>().0.iter();
    match format {
        TensorFormat::F16 => pairs().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
        TensorFormat::BF16 => pairs().map(|&b| bf16::from_le_bytes(b).to_f32()).collect(),
        _ => bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
    }
}
