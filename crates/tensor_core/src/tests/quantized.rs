//! Quantized matrices: dequantized weights equal candle's bit for bit, and products agree with
//! candle and with f32 within stated bounds.

use std::borrow::Cow;

use candle_core::quantized::{QMatMul, QStorage, QTensor};
use candle_core::{DType, Device, Module, Result, Tensor, Var};
use proptest::prelude::*;

use crate::kernels::quantized::{InstructionSet, matmul_with};
use crate::quantized::{Quantization, QuantizedMatrix, by_format};
use crate::testing::assert_close;
use crate::{Rng, Weight, backward, ops};

const CPU: Device = Device::Cpu;

fn random(seed: u64, shape: (usize, usize)) -> Tensor {
    Rng::new(seed).normal_tensor(shape, 1., DType::F32, &CPU).unwrap()
}

/// Blocks of random bytes, with 16-bit floats that may be huge, subnormal or NaN.
fn any_blocks(format: Quantization, (rows, blocks): (usize, usize), seed: u64) -> QuantizedMatrix {
    let mut rng = Rng::new(seed);
    let bytes = (0..rows * blocks * format.block_bytes()).map(|_| rng.below(256) as u8).collect();
    QuantizedMatrix::new(format, rows, blocks * format.block_size(), bytes).unwrap()
}

fn bits(x: &Tensor) -> Vec<u32> {
    let numbers = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    // The bit pattern of a NaN is unspecified.
    numbers.iter().map(|x| if x.is_nan() { u32::MAX } else { x.to_bits() }).collect()
}

fn values(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

/// x Wᵀ with the given instruction set.
fn product_with(isa: InstructionSet, w: &QuantizedMatrix, x: &[f32]) -> Vec<f32> {
    by_format!(w.format(), matmul_with(isa, w.blocks(), w.dims().1, x))
}

/// Error bound Σ |w| · max |x| / 254 of each result: x is rounded to steps of max |x| / 127, with
/// the maximum over its 32 elements, so each element is off by at most half a step. A thousandth
/// more for the sums in f32.
fn bound(w: &Tensor, x: &Tensor) -> Result<Tensor> {
    let (n, columns) = x.dims2()?;
    let max = x.abs()?.reshape((n, columns / 32, 32))?.max_keepdim(2)?;
    let error = (max.broadcast_as((n, columns / 32, 32))?.reshape((n, columns))? / 254.)?;
    error.affine(1.001, 1e-6)?.matmul(&w.abs()?.t()?)
}

#[test]
fn dequantized_weights_equal_candles_bit_for_bit() -> Result<()> {
    for format in Quantization::ALL {
        for matrix in [
            any_blocks(format, (37, 5), 1),
            QuantizedMatrix::quantize(format, &random(2, (5, 512)))?,
        ] {
            let (rows, columns) = matrix.dims();
            let bytes = Cow::Owned(matrix.blocks().to_vec());
            let storage = QStorage::from_data(bytes, &CPU, format.ggml_dtype())?;
            let expected = QTensor::new(storage, (rows, columns))?.dequantize(&CPU)?;
            assert_eq!(bits(&matrix.dequantize()?), bits(&expected), "{}", format.name());
        }
    }
    Ok(())
}

#[test]
fn quantized_matmul_stays_within_the_int8_error_bound() -> Result<()> {
    for format in Quantization::ALL {
        for (rows, columns) in [(1, 256), (67, 768), (192, 512), (301, 1536)] {
            let w = QuantizedMatrix::quantize(format, &random(3, (rows, columns)))?;
            let numbers = w.dequantize()?;
            for n in [1, 2, 4, 7, 9, 100] {
                let x = random(4, (n, columns));
                let expected = values(&x.matmul(&numbers.t()?)?);
                let finer = if matches!(format, Quantization::Q8_0 | Quantization::Q6K) {
                    254.
                } else {
                    1.
                };
                // 1e-3 for the sums in f32.
                let bound = values(&(bound(&numbers, &x)? / finer)?.affine(1., 1e-3)?);
                let y = w.matmul(&x)?;
                assert_eq!(y.dims(), [n, rows]);
                for ((y, expected), bound) in values(&y).iter().zip(expected).zip(bound) {
                    let error = (y - expected).abs();
                    assert!(
                        error <= bound,
                        "{format:?}, {n} rows: {y} is not {expected} ± {bound}"
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn every_instruction_set_gives_the_same_result() -> Result<()> {
    for format in Quantization::ALL {
        for n in [1, 3, 6] {
            let w = QuantizedMatrix::quantize(format, &random(5, (131, 768)))?;
            let x = random(6, (n, 768));
            let results: Vec<_> = InstructionSet::available()
                .into_iter()
                .map(|isa| product_with(isa, &w, &values(&x)))
                .collect();
            for result in &results {
                for (a, b) in result.iter().zip(&results[0]) {
                    // The integer sums are equal; the f32 sums are in another order.
                    assert!((a - b).abs() <= 2e-5 * (10. + b.abs()), "{format:?}: {a}, {b}");
                }
            }
        }
    }
    Ok(())
}

/// One block with scales of 1, so that the result is the integer sum itself; the largest values do
/// not overflow.
#[test]
fn integer_sums_are_exact_on_every_instruction_set() -> Result<()> {
    use Quantization::{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
    for format in [Q8_0, Q4_0, Q4_1, Q5_0, Q5_1] {
        for (byte, value) in [(0x80u8, 1.), (0x7f, 1.), (0xff, -1.), (0x80, -1.), (0x00, 1.)] {
            let mut bytes = vec![byte; format.block_bytes()];
            bytes[..2].copy_from_slice(&[0, 0x3c]); // 1 in f16
            if matches!(format, Q4_1 | Q5_1) {
                bytes[2..4].copy_from_slice(&[0, 0x3c]);
            }
            let w = QuantizedMatrix::new(format, 1, 32, bytes)?;
            let expected: f32 = values(&w.dequantize()?).iter().sum::<f32>() * 127. * value;
            for isa in InstructionSet::available() {
                let y = product_with(isa, &w, &[127. * value; 32]);
                assert_eq!(y, [expected], "{format:?} {isa:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn quantized_matmul_is_as_accurate_as_candles() -> Result<()> {
    use Quantization::{Q4_0, Q4K, Q6K, Q8_0};
    // Sums of 512 products with standard deviation 1. candle has one scale per 256 elements of x,
    // this crate one per 32: rounding errors have deviation 3 / 127 / √12 per term there and
    // 2.2 / 127 / √12 here, which add up to 0.2 over 512 terms. For Q4_0, candle has one scale per
    // 32 too, in 16 bits.
    for (format, tol) in [(Q8_0, 0.25), (Q4_0, 0.02), (Q4K, 0.25), (Q6K, 0.25)] {
        let (w, x) = (random(7, (96, 512)), random(8, (2, 512)));
        let candle =
            QMatMul::from_qtensor(QTensor::quantize(&w, format.ggml_dtype())?)?.forward(&x)?;
        let w = QuantizedMatrix::quantize(format, &w)?;
        let (ours, exact) = (w.matmul(&x)?, x.matmul(&w.dequantize()?.t()?)?);
        let distance =
            |a: &Tensor, b: &Tensor| (a - b)?.sqr()?.mean_all()?.sqrt()?.to_scalar::<f32>();
        assert!(distance(&ours, &candle)? < tol, "{format:?}");
        assert!(distance(&ours, &exact)? < 1.01 * distance(&candle, &exact)?, "{format:?}");
    }
    Ok(())
}

#[test]
fn quantized_matmul_keeps_leading_dims_and_accepts_strides() -> Result<()> {
    let w = QuantizedMatrix::quantize(Quantization::Q4_1, &random(9, (33, 64)))?;
    let x = random(10, (64, 6)).t()?; // (6, 64), not contiguous
    let y = w.matmul(&x)?;
    assert_eq!(bits(&y), bits(&w.matmul(&x.contiguous()?)?));
    let batched = x.contiguous()?.reshape((2, 3, 64))?;
    assert_eq!(w.matmul(&batched)?.dims(), [2, 3, 33]);
    assert_eq!(bits(&w.matmul(&batched)?), bits(&y));
    // The result of a row does not depend on the other rows of a small batch.
    assert_eq!(bits(&w.matmul(&x.narrow(0, 5, 1)?)?), bits(&y.narrow(0, 5, 1)?));
    Ok(())
}

/// For few rows, too, where inference would quantize x.
#[test]
fn a_tracked_quantized_matmul_has_the_gradient_of_the_dequantized_weights() -> Result<()> {
    for (format, n) in [(Quantization::Q4_1, 1), (Quantization::Q8_0, 5), (Quantization::Q6K, 40)] {
        let weight = QuantizedMatrix::quantize(format, &random(1, (33, 256)))?;
        let x = Var::from_tensor(&random(2, (n, 256)).reshape((1, n, 256))?)?;
        let upstream = random(3, (n, 33)).reshape((1, n, 33))?;
        let value_and_grad = |f: &dyn Fn(&Tensor) -> Result<Tensor>| -> Result<_> {
            let twice = (x.as_tensor() * 2.)?; // a result of candle's own operations
            let y = f(&twice)?;
            let grads = backward(&(&y * &upstream)?.sum_all()?)?;
            Ok((y.detach(), grads.get(&x).expect("a gradient").clone()))
        };
        let (y, grad) = value_and_grad(&|x| weight.matmul(x))?;
        let full = weight.dequantize()?;
        let (expected_y, expected_grad) = value_and_grad(&|x| ops::linear(x, &full, None))?;
        assert_close(&y, &expected_y, 1e-5);
        assert_close(&grad, &expected_grad, 1e-5);
    }
    Ok(())
}

#[test]
fn quantized_matmul_is_deterministic() -> Result<()> {
    for (format, n) in [(Quantization::Q4_1, 1), (Quantization::Q8_0, 5), (Quantization::Q6K, 40)] {
        let w = QuantizedMatrix::quantize(format, &random(11, (1000, 768)))?;
        let x = random(12, (n, 768));
        let first = bits(&w.matmul(&x)?);
        for _ in 0..5 {
            assert_eq!(bits(&w.matmul(&x)?), first);
        }
    }
    Ok(())
}

#[test]
fn rows_can_be_looked_up_and_permuted() -> Result<()> {
    for format in Quantization::ALL {
        let w = QuantizedMatrix::quantize(format, &random(13, (7, 256)))?;
        let all = w.dequantize()?;
        let selected = w.dequantize_rows(&[6, 0, 6])?;
        assert_eq!(
            bits(&selected),
            bits(&all.index_select(&Tensor::new(&[6u32, 0, 6], &CPU)?, 0)?)
        );
        let order = [3, 1, 4, 0, 6, 5, 2];
        let ids = Tensor::from_iter(order.iter().map(|&i| i as u32), &CPU)?;
        let permuted = w.permute_rows(&order)?;
        assert_eq!(bits(&permuted.dequantize()?), bits(&all.index_select(&ids, 0)?));
        assert_eq!(permuted.size_in_bytes(), w.size_in_bytes());
    }
    Ok(())
}

#[test]
fn quantized_embeddings_take_the_ids_that_others_take() -> Result<()> {
    let matrix = QuantizedMatrix::quantize(Quantization::Q4_1, &random(13, (7, 64)))?;
    let table = matrix.dequantize()?;
    let ids = Tensor::new(&[[6u32, 0], [6, 3]], &CPU)?;
    let expected = bits(&table.index_select(&ids.flatten_all()?, 0)?);
    for weight in [Weight::Unquantized(table), Weight::Quantized(matrix)] {
        for dtype in [DType::U8, DType::U32, DType::I64] {
            let rows = weight.embedding(&ids.to_dtype(dtype)?)?;
            assert_eq!(rows.dims(), [2, 2, 64]);
            assert_eq!(bits(&rows), expected, "{dtype:?}");
        }
        for id in [-1i64, 7] {
            let error = message(weight.embedding(&Tensor::new(&[0, id], &CPU)?));
            assert_eq!(error, format!("embedding: id {id} lies outside the 7 rows of the weight"));
        }
        assert!(weight.embedding(&Tensor::new(&[1f32], &CPU)?).is_err());
    }
    Ok(())
}

#[test]
fn nan_and_infinite_activations_reach_the_result() -> Result<()> {
    let w = QuantizedMatrix::quantize(Quantization::Q4_1, &random(14, (3, 64)))?;
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x = vec![1.; 64];
        x[40] = bad;
        for isa in InstructionSet::available() {
            assert!(product_with(isa, &w, &x).iter().all(|y| !y.is_finite()), "{bad} {isa:?}");
        }
    }
    Ok(())
}

fn message<T>(result: Result<T>) -> String {
    let Err(error) = result else { panic!("invalid input was accepted") };
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[test]
fn quantized_matrix_errors_name_the_sizes() -> Result<()> {
    let new =
        |rows, columns, n| QuantizedMatrix::new(Quantization::Q4_1, rows, columns, vec![0; n]);
    let w = new(3, 64, 120)?;
    let x = random(15, (2, 32));
    let cases = [
        (message(new(3, 48, 90)), "Q4_1 matrix of 3 by 48: rows are not whole blocks of 32"),
        (message(new(3, 64, 119)), "Q4_1 matrix of 3 by 64: 120 bytes expected, found 119"),
        (message(new(0, 64, 0)), "Q4_1 matrix of 0 by 64: empty"),
        (
            message(new(usize::MAX / 64, 64, 0)),
            "Q4_1 matrix of 288230376151711743 by 64: too large",
        ),
        (message(w.dequantize_rows(&[0, 3])), "rows: id 3 lies outside the 3 rows of the matrix"),
        (message(w.dequantize_rows(&[])), "rows: no ids"),
        (
            message(w.permute_rows(&[0, 7])),
            "permute_rows: row 7 lies outside the 3 rows of the matrix",
        ),
        (message(w.permute_rows(&[])), "Q4_1 matrix of 0 by 64: empty"),
        (
            message(w.matmul(&x)),
            "quantized matmul: shapes do not fit: x [2, 32] (F32, Cpu), weight Q4_1 (3, 64)",
        ),
        (
            message(w.matmul(&Tensor::zeros((2, 64), DType::F64, &CPU)?)),
            "quantized matmul: not f32 on the CPU: x [2, 64] (F64, Cpu), weight Q4_1 (3, 64)",
        ),
        (
            message(w.matmul(&Tensor::zeros((0, 64), DType::F32, &CPU)?)),
            "quantized matmul: an empty tensor: x [0, 64] (F32, Cpu), weight Q4_1 (3, 64)",
        ),
        (
            message(QuantizedMatrix::quantize(Quantization::Q4K, &x)),
            "Q4_K matrix of 2 by 32: rows are not whole blocks of 256",
        ),
        (
            message(QuantizedMatrix::quantize(Quantization::Q8_0, &x.to_dtype(DType::F64)?)),
            "quantize: expected f32, found F64",
        ),
    ];
    for (actual, expected) in cases {
        assert_eq!(actual, expected);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn any_block_bytes_decode_without_a_panic(
        seed: u64,
        rows in 1usize..20,
        blocks in 1usize..9,
        n in 1usize..12,
    ) {
        for format in Quantization::ALL {
            let w = any_blocks(format, (rows, blocks), seed);
            let (_, columns) = w.dims();
            let x = random(seed, (n, columns));
            prop_assert_eq!(w.matmul(&x).unwrap().elem_count(), n * rows);
            prop_assert_eq!(w.dequantize_rows(&[0]).unwrap().elem_count(), columns);
            let x = values(&x);
            let isas = InstructionSet::available().into_iter();
            let results = isas.map(|isa| product_with(isa, &w, &x));
            let mut results = results;
            prop_assert!(results.all(|y| y.len() == n * rows));
        }
    }
}
