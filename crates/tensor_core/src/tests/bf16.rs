//! Products in bf16: operands rounded, sums in f32, the same on every kind of processor.

use candle_core::{DType, Device, Result, Tensor, Var};
use half::bf16;

use crate::kernels::bf16::{Operand, Units, append_linear, append_matmul};
use crate::kernels::matrix::Matrix;
use crate::ops::grouped_linear;
use crate::ops::grouped_linear::grouped_linear_bf16;
use crate::ops::linear::{self, linear_bf16};
use crate::testing::assert_close;
use crate::{Rng, backward};

const CPU: Device = Device::Cpu;

/// All implementations that this processor can run.
fn all_units() -> Vec<Units> {
    let mut all = vec![Units::F32];
    if Units::of_this_cpu() != Units::F32 {
        all.push(Units::of_this_cpu());
    }
    all
}

fn numbers(rng: &mut Rng, n: usize) -> Result<Vec<f32>> {
    rng.normal_tensor(n, 1., DType::F32, &CPU)?.to_vec1()
}

#[test]
fn numbers_are_rounded_as_by_the_half_crate() {
    let halfway = [0x3f80_8000, 0x3f81_8000, 0x3f80_8001, 0x3f80_7fff].map(f32::from_bits);
    let special = [0., -0., 1e-20, f32::MAX, -f32::MAX, f32::INFINITY, f32::NEG_INFINITY];
    let spread = (0..1_000_000).map(|i: u32| f32::from_bits(i.wrapping_mul(0x9e37_79b9)));
    for x in halfway.into_iter().chain(special).chain(spread) {
        let (ours, expected) = (f32::from_bits(x.upper_bits()), bf16::from_f32(x));
        let equal = ours.to_bits() == expected.to_f32().to_bits();
        assert!(equal || (x.is_nan() && ours.is_nan()), "{x:e}: {ours:e}, expected {expected:e}");
    }
    let loud_nan = f32::from_bits(0x7f80_0001); // its upper 16 bits are those of infinity
    assert!(f32::from_bits(loud_nan.upper_bits()).is_nan());
}

/// The sum of the products of rounded numbers, in f64, and the largest error of a sum in f32.
fn expected(a: &[f32], b: &[f32]) -> (f64, f64) {
    let round = |x: &f32| f64::from(bf16::from_f32(*x).to_f32());
    let products = a.iter().zip(b).map(|(a, b)| round(a) * round(b));
    let (sum, sizes) = products.fold((0., 0.), |(sum, size), x| (sum + x, size + x.abs()));
    (sum, sizes * a.len() as f64 * f64::from(f32::EPSILON) + 1e-30)
}

#[test]
fn products_are_sums_of_rounded_operands_for_every_shape_layout_and_unit() -> Result<()> {
    let mut rng = Rng::new(1);
    for (m, n, k) in [
        (1, 1, 1),
        (17, 3, 2),
        (12, 32, 33),
        (13, 33, 31),
        (11, 16, 64),
        (250, 130, 65),
        (25, 129, 1),
        (13, 33, 0),
        (30, 130, 0),
        (40, 257, 1027),
        (300, 20, 515),
    ] {
        let (a, b) = (numbers(&mut rng, m * k)?, numbers(&mut rng, n * k)?); // (m, k), (n, k)
        let bias = numbers(&mut rng, n)?;
        let transposed = |x: &[f32], rows: usize, columns: usize| -> Vec<f32> {
            (0..rows * columns).map(|i| x[i % rows * columns + i / rows]).collect()
        };
        let (a_t, b_t) = (transposed(&a, m, k), transposed(&b, n, k)); // (k, m), (k, n)
        let b_16: Vec<bf16> = b.iter().map(|&x| bf16::from_f32(x)).collect();
        for units in all_units() {
            for (layout, with_bias) in (0..5).flat_map(|i| [(i, true), (i, false)]) {
                let bias = with_bias.then_some(&bias[..]);
                let left = if layout < 2 {
                    Matrix::new(&a, m, k)
                } else {
                    Matrix::new(&a_t, k, m).transposed()
                };
                let mut c = vec![7.]; // which stays
                match layout {
                    0 | 2 => {
                        let right = Matrix::new(&b, n, k).transposed();
                        append_matmul(units, &mut c, left, right, bias);
                    }
                    1 | 3 => append_matmul(units, &mut c, left, Matrix::new(&b_t, k, n), bias),
                    _ => {
                        let right = Matrix::new(&b_16, n, k).transposed();
                        append_matmul(units, &mut c, left, right, bias);
                    }
                }
                assert_eq!((c[0], c.len()), (7., 1 + m * n));
                for i in 0..m {
                    for j in 0..n {
                        let (sum, error) = expected(&a[i * k..][..k], &b[j * k..][..k]);
                        let sum = sum + bias.map_or(0., |bias| f64::from(bias[j]));
                        let actual = f64::from(c[1 + i * n + j]);
                        let error = error + 1e-6 * sum.abs();
                        assert!(
                            (actual - sum).abs() <= error,
                            "{m} x {n} x {k}, layout {layout}, {units:?}: ({i}, {j}) is {actual}, \
                             expected {sum} within {error:e}"
                        );
                    }
                }
            }
        }
    }
    Ok(())
}

/// A product with 1 is the rounded number itself.
#[test]
fn every_unit_rounds_to_even_and_keeps_what_is_not_finite() {
    let bits = [0x3f80_8000, 0x3f81_8000, 0x3f80_8001, 0x3f80_7fff, 0xc000_8000, 0x7f80_0001];
    let special = [0., -1.5, 1e-30, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let numbers: Vec<f32> =
        bits.map(f32::from_bits).into_iter().chain(special).cycle().take(40).collect();
    for units in all_units() {
        for in_columns in [false, true] {
            let column = if in_columns {
                Matrix::new(&numbers, 1, 40).transposed()
            } else {
                Matrix::new(&numbers, 40, 1)
            };
            let mut c = Vec::new();
            append_matmul(units, &mut c, column, Matrix::new(&[1f32], 1, 1), None);
            for (number, c) in numbers.iter().zip(c) {
                let expected = bf16::from_f32(*number).to_f32();
                let equal = c == expected || (c.is_nan() && expected.is_nan());
                assert!(equal, "{units:?}: {number:e} gave {c:e}, expected {expected:e}");
            }
        }
        // Along the inner dimension, numbers are packed in another way.
        let (ones, numbers) = (vec![1f32; 80], &numbers[..4]);
        for place in 0..40 {
            let mut row = vec![0f32; 40];
            row[place] = numbers[place % 4];
            let mut c = Vec::new();
            append_matmul(units, &mut c, Matrix::new(&row, 1, 40), Matrix::new(&ones, 40, 2), None);
            assert_eq!(c, [bf16::from_f32(row[place]).to_f32(); 2], "{units:?}, place {place}");
        }
    }
}

#[test]
fn few_rows_give_what_many_rows_give_but_for_the_order_of_sums() -> Result<()> {
    let (mut rng, m, k) = (Rng::new(2), 37, 300);
    let (w, bias) = (numbers(&mut rng, m * k)?, numbers(&mut rng, m)?);
    let w_16: Vec<bf16> = w.iter().map(|&x| bf16::from_f32(x)).collect();
    for n in [1, 2, 7, 16, 17] {
        let x = numbers(&mut rng, n * k)?;
        let (mut y, mut y_16) = (Vec::new(), Vec::new());
        append_linear(&mut y, &x, &w, k, Some(&bias));
        append_linear(&mut y_16, &x, &w_16, k, Some(&bias));
        assert_eq!(y, y_16, "a weight stored in bf16 is the same weight");
        for (i, &y) in y.iter().enumerate() {
            let (sum, error) = expected(&x[i / m * k..][..k], &w[i % m * k..][..k]);
            let sum = sum + f64::from(bias[i % m]);
            assert!((f64::from(y) - sum).abs() <= error + 1e-6, "{n} rows: {y}, expected {sum}");
        }
    }
    Ok(())
}

/// The order of the sums depends neither on the shape nor on the division among threads.
#[test]
fn an_element_has_the_same_bits_in_a_product_of_any_size() -> Result<()> {
    let (mut rng, m, n, k) = (Rng::new(3), 500, 300, 1100);
    let (a, b) = (numbers(&mut rng, m * k)?, numbers(&mut rng, n * k)?);
    let product = |rows: usize, columns: usize| {
        let (a, b) =
            (Matrix::new(&a[..rows * k], rows, k), Matrix::new(&b[..columns * k], columns, k));
        let mut c = Vec::new();
        append_matmul(Units::of_this_cpu(), &mut c, a, b.transposed(), None);
        c
    };
    let whole = product(m, n);
    if Units::of_this_cpu() == Units::F32 {
        return Ok(()); // gemm divides the sums by the shape
    }
    for (rows, columns) in [(20, 3), (31, 130), (499, 299)] {
        let part = product(rows, columns);
        for i in 0..rows {
            assert_eq!(part[i * columns..][..columns], whole[i * n..][..columns], "row {i}");
        }
    }
    Ok(())
}

#[test]
fn linear_bf16_and_its_gradients_are_products_of_rounded_numbers() -> Result<()> {
    let mut rng = Rng::new(4);
    let (n, n_in, n_out) = (40, 24, 33);
    let x = Var::from_tensor(&rng.normal_tensor((n, n_in), 1., DType::F32, &CPU)?)?;
    let weight = Var::from_tensor(&rng.normal_tensor((n_out, n_in), 1., DType::F32, &CPU)?)?;
    let bias = Var::from_tensor(&rng.normal_tensor(n_out, 1., DType::F32, &CPU)?)?;
    let grad = rng.normal_tensor((n, n_out), 1., DType::F32, &CPU)?;
    let rounded = |x: &Tensor| x.to_dtype(DType::BF16)?.to_dtype(DType::F32);

    let y = linear_bf16(&x, &weight, Some(&bias))?;
    assert_close(&y, linear::reference(&rounded(&x)?, &rounded(&weight)?, Some(&bias))?, 1e-6);
    let exact = linear::linear(&x, &weight, Some(&bias))?;
    let difference = (&y - &exact)?.abs()?.max_all()?.to_scalar::<f32>()?;
    assert!((1e-3..0.1).contains(&difference), "rounding is seen: {difference}");

    let grads = backward(&(&y * &grad)?.sum_all()?)?;
    let of = |variable: &Var| grads.get(variable.as_tensor()).expect("a gradient");
    let (g, w) = (rounded(&grad)?, rounded(&weight)?);
    assert_close(of(&x), g.matmul(&w)?, 1e-6);
    assert_close(of(&weight), g.t()?.matmul(&rounded(&x)?)?, 1e-6);
    assert_close(of(&bias), grad.sum(0)?, 1e-6);

    // Stored in bf16, the weight is the same; a frozen one has no gradient.
    let stored = weight.as_detached_tensor().to_dtype(DType::BF16)?;
    let same = linear_bf16(&x, &stored, Some(&bias))?;
    assert_eq!(same.to_vec2::<f32>()?, y.to_vec2::<f32>()?);
    let grads = backward(&(&same * &grad)?.sum_all()?)?;
    assert_close(grads.get(x.as_tensor()).expect("a gradient"), g.matmul(&w)?, 1e-6);
    Ok(())
}

#[test]
fn grouped_linear_bf16_is_linear_bf16_of_each_group() -> Result<()> {
    let mut rng = Rng::new(5);
    for n_in in [10, 40, 200] {
        check_groups(&mut rng, [18, 0, 3], n_in)?;
    }
    Ok(())
}

/// Compares groups of `counts` rows of `n_in` numbers with a layer for each.
fn check_groups(rng: &mut Rng, counts: [usize; 3], n_in: usize) -> Result<()> {
    let n_out = 6;
    let x = Var::from_tensor(&rng.normal_tensor((21, n_in), 1., DType::F32, &CPU)?)?;
    let mut variable =
        |shape: &[usize]| Var::from_tensor(&rng.normal_tensor(shape, 1., DType::F32, &CPU)?);
    let weights = (0..3).map(|_| variable(&[n_out, n_in])).collect::<Result<Vec<_>>>()?;
    let biases = (0..3).map(|_| variable(&[n_out])).collect::<Result<Vec<_>>>()?;
    let groups: Vec<_> =
        weights.iter().zip(&biases).map(|(w, b)| (w.as_tensor(), Some(b.as_tensor()))).collect();

    let y = grouped_linear_bf16(&x, &groups, &counts)?;
    let of_group = |i: usize, start: usize| {
        linear_bf16(&x.narrow(0, start, counts[i])?, groups[i].0, groups[i].1)
    };
    let expected = Tensor::cat(&[of_group(0, 0)?, of_group(2, 18)?], 0)?;
    assert_eq!(y.to_vec2::<f32>()?, expected.to_vec2::<f32>()?);
    let exact = grouped_linear(&x, &groups, &counts)?;
    assert!(y.to_vec2::<f32>()? != exact.to_vec2::<f32>()?, "rounding is seen");

    let (ours, theirs) = (backward(&y.sqr()?.sum_all()?)?, backward(&expected.sqr()?.sum_all()?)?);
    for i in [0, 2] {
        for variable in [&weights[i], &biases[i], &x] {
            let grads = [&ours, &theirs].map(|grads| grads.get(variable.as_tensor()));
            assert_close(grads[0].expect("a gradient"), grads[1].expect("a gradient"), 1e-6);
        }
    }
    Ok(())
}

#[test]
fn bf16_products_refuse_other_dtypes() -> Result<()> {
    let (x, w) = (Tensor::ones((2, 3), DType::F32, &CPU)?, Tensor::ones((4, 3), DType::F32, &CPU)?);
    let error = linear_bf16(&x, &w.to_dtype(DType::F16)?, None).unwrap_err().to_string();
    assert!(error.contains("a weight in F16 on Cpu, expected f32, and f32 or bf16"), "{error}");
    let error = linear_bf16(&x.to_dtype(DType::F64)?, &w, None).unwrap_err().to_string();
    assert!(error.contains("x in F64"), "{error}");
    let groups = [(&w, None), (&w.to_dtype(DType::BF16)?, None)];
    let error = grouped_linear_bf16(&x, &groups, &[1, 1]).unwrap_err().to_string();
    assert!(error.contains("weights in [F32, BF16]"), "{error}");
    Ok(())
}
