//! A tensor of a file as a layer's weight: numbers, or blocks that stay as they are.

use anyhow::{Result, bail};
use candle_core::{Device, Tensor};
use half::{bf16, f16};
use tensor_core::Weight;
use tensor_core::quantized::{Quantization, QuantizedMatrix};

use crate::gguf::{Format, Gguf};
use crate::row_order::reordered;

/// The tensor `name`, its rows put in `order` if there is one, which names each of them.
pub(super) fn read(file: &Gguf, name: &str, order: Option<&[usize]>) -> Result<Weight> {
    let (info, bytes) = (file.tensor(name)?, file.read(name)?);
    let dims = &info.dims[..];
    let Some(format) = quantization(info.format) else {
        let numbers = plain_numbers(info.format, &bytes);
        let numbers = match order {
            Some(order) => reordered(&numbers, order),
            None => numbers,
        };
        return Ok(Weight::Full(Tensor::from_vec(numbers, dims, &Device::Cpu)?));
    };
    let &[rows, columns] = dims else { bail!("`{name}` is quantized, but no matrix") };
    let matrix = QuantizedMatrix::new(format, (rows, columns), bytes)?;
    Ok(Weight::Quantized(match order {
        Some(order) => matrix.permute_rows(order)?,
        None => matrix,
    }))
}

/// The format of blocks that layers compute with, if it is one of blocks.
fn quantization(format: Format) -> Option<Quantization> {
    match format {
        Format::F32 | Format::F16 | Format::BF16 => None,
        Format::Q4_0 => Some(Quantization::Q4_0),
        Format::Q4_1 => Some(Quantization::Q4_1),
        Format::Q8_0 => Some(Quantization::Q8_0),
        Format::Q4K => Some(Quantization::Q4K),
        Format::Q6K => Some(Quantization::Q6K),
    }
}

/// The numbers of a format that has no blocks.
pub(super) fn plain_numbers(format: Format, bytes: &[u8]) -> Vec<f32> {
    let pairs = || bytes.as_chunks::<2>().0.iter();
    match format {
        Format::F16 => pairs().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
        Format::BF16 => pairs().map(|&b| bf16::from_le_bytes(b).to_f32()).collect(),
        _ => bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
    }
}
