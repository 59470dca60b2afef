//! Weights of a GGUF file: tensors and blocks, and the matrices of experts that one tensor stacks.

use anyhow::{Result, bail, ensure};
use candle_core::{Device, Tensor};
use tensor_core::Weight;
use tensor_core::quantized::{Quantization, QuantizedMatrix};

use crate::gguf::{Gguf, TensorFormat};
use crate::row_order::permute_rows;

/// Weight `name`, unquantized or in blocks, with its rows permuted by `order` if given.
pub(crate) fn read_weight(file: &Gguf, name: &str, order: Option<&[usize]>) -> Result<Weight> {
    let info = file.tensor_info(name)?;
    let TensorFormat::Quantized(quantization) = info.format else {
        let mut numbers = file.read_floats(name)?;
        if let Some(order) = order {
            numbers = permute_rows(&numbers, order);
        }
        return Ok(Weight::Unquantized(Tensor::from_vec(numbers, &info.dims[..], &Device::Cpu)?));
    };
    let &[rows, columns] = &info.dims[..] else { bail!("`{name}` is quantized, but not a matrix") };
    let mut matrix = checked_matrix(name, quantization, (rows, columns), file.read_tensor(name)?)?;
    if let Some(order) = order {
        matrix = matrix.permute_rows(order)?;
    }
    Ok(Weight::Quantized(matrix))
}

/// Matrix of each of `n_expert` experts in the tensor `name: (E, rows, columns)`.
pub(crate) fn read_experts(file: &Gguf, name: &str, n_expert: usize) -> Result<Vec<Weight>> {
    let info = file.tensor_info(name)?;
    let &[e, rows, columns] = &info.dims[..] else {
        bail!("`{name}` has shape {:?}, expected a matrix for each expert", info.dims)
    };
    ensure!(e == n_expert, "`{name}` has {e} matrices for {n_expert} experts");
    let shape = (rows, columns);
    match info.format {
        TensorFormat::Quantized(quantization) => {
            let bytes = file.read_tensor(name)?;
            let matrices = bytes.chunks_exact(bytes.len() / e).map(|matrix| {
                let matrix = checked_matrix(name, quantization, shape, matrix.to_vec())?;
                Ok(Weight::Quantized(matrix))
            });
            matrices.collect()
        }
        TensorFormat::F32 | TensorFormat::F16 | TensorFormat::BF16 => {
            let numbers = file.read_floats(name)?;
            let matrices = numbers.chunks_exact(rows * columns).map(|matrix| {
                Ok(Weight::Unquantized(Tensor::from_slice(matrix, shape, &Device::Cpu)?))
            });
            matrices.collect()
        }
    }
}

/// Matrix (rows, columns) of blocks, a part of the tensor `name`, whose weights are finite.
fn checked_matrix(
    name: &str,
    quantization: Quantization,
    (rows, columns): (usize, usize),
    blocks: Vec<u8>,
) -> Result<QuantizedMatrix> {
    let matrix = QuantizedMatrix::new(quantization, rows, columns, blocks)?;
    ensure!(
        is_finite(&matrix)?,
        "`{name}` has a weight that is NaN or infinite: the file is damaged"
    );
    Ok(matrix)
}

/// True if no weight is NaN or infinite, as the scale of a block may be. Few rows at a time, so
/// that the matrix is never in memory as f32.
fn is_finite(matrix: &QuantizedMatrix) -> Result<bool> {
    let (rows, _columns) = matrix.dims();
    for rows in (0..rows as u32).collect::<Vec<_>>().chunks(64) {
        let numbers = matrix.dequantize_rows(rows)?;
        if numbers.affine(0., 0.)?.sum_all()?.to_scalar::<f32>()? != 0. {
            return Ok(false); // 0 · x is 0 for all other numbers
        }
    }
    Ok(true)
}
