//! 16-bit inputs give the results of f32 for the same values, rounded.

use candle_core::{DType, Device, Result, Tensor, Var};

use crate::ops::*;
use crate::testing::{assert_close, devices};
use crate::{Rng, backward};

const CPU: Device = Device::Cpu;

/// 16-bit dtypes, with a little more than the relative error of rounding to them: 2⁻⁸ and 2⁻¹¹.
const ROUNDING: [(DType, f64); 2] = [(DType::BF16, 4.2e-3), (DType::F16, 5.5e-4)];

/// Operation as a function of one of its inputs.
type Op<'a> = &'a dyn Fn(&Tensor) -> Result<Tensor>;

fn numbers(x: &Tensor) -> Result<Vec<f64>> {
    x.to_device(&CPU)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// Panics unless each number of `actual` differs from that of `expected` by at most the share
/// `tol` of it, however small it is.
#[track_caller]
fn assert_relatively_close(actual: &Tensor, expected: &Tensor, tol: f64) -> Result<()> {
    assert_eq!(actual.dims(), expected.dims());
    for (a, b) in numbers(actual)?.into_iter().zip(numbers(expected)?) {
        assert!((a - b).abs() <= tol * b.abs(), "{a} is not close to {b}");
    }
    Ok(())
}

/// Result of `f` and its gradient in x, both in the dtype of `x` on its device.
fn with_gradient(f: impl Fn(&Tensor) -> Result<Tensor>, x: &Tensor) -> Result<[Tensor; 2]> {
    let x = Var::from_tensor(x)?;
    let y = f(x.as_tensor())?;
    let grads = backward(&y.sum_all()?)?;
    Ok([y, grads.get(x.as_tensor()).expect("a gradient").clone()])
}

#[test]
fn half_precision_results_equal_rounded_f32_results_on_each_device() -> Result<()> {
    let mut rng = Rng::new(0);
    for (dtype, tol) in [(DType::BF16, 1e-2), (DType::F16, 2e-3)] {
        // Long rows of large values, whose sums and squares overflow in 16 bits.
        let x = (rng.normal_tensor((4, 4096), 1., dtype, &CPU)? * 300.)?;
        let small = (&x / 100.)?;
        let [weight, bias] = [Tensor::ones(4096, dtype, &CPU)?, Tensor::zeros(4096, dtype, &CPU)?];
        let check = |f: Op<'_>, x: &Tensor| {
            let exact = f(&x.to_dtype(DType::F32)?)?;
            for device in devices()? {
                assert_close(f(&x.to_device(&device)?)?, &exact, tol);
            }
            Result::Ok(())
        };
        let like = |t: &Tensor, x: &Tensor| t.to_dtype(x.dtype())?.to_device(x.device());
        check(&|x| rms_norm(x, &like(&weight, x)?, 1e-5), &x)?;
        check(&|x| layer_norm(x, &like(&weight, x)?, &like(&bias, x)?, 1e-5), &x)?;
        check(&|x| softmax(x), &small)?;
        check(&|x| log_softmax(x), &small)?;
        check(&|x| entropy(x), &small)?;
        let targets = Tensor::new(&[0i64, 7, IGNORE_INDEX, 4095], &CPU)?;
        check(&|x| cross_entropy(x, &targets.to_device(x.device())?), &small)?;
        check(&|x| token_log_probs(x, &targets.to_device(x.device())?), &small)?;
    }
    Ok(())
}

#[test]
fn ignored_rows_may_hold_infinite_logits() -> Result<()> {
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let rows = [[f32::NEG_INFINITY, 1., 2.], [0., f32::NEG_INFINITY, 1.]];
        let logits = Tensor::new(&rows, &CPU)?.to_dtype(dtype)?;
        let targets = Tensor::new(&[IGNORE_INDEX, 2], &CPU)?;
        let expected = (1f32 + (-1f32).exp()).ln(); // −log softmax of 1 beside 0
        let loss = cross_entropy(&logits, &targets)?.to_dtype(DType::F32)?.to_scalar::<f32>()?;
        assert_close(loss, expected, 1e-2);
        let log_probs =
            token_log_probs(&logits, &targets)?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        assert_close(&log_probs, [0., -expected], 1e-2);
        let entropy = entropy(&logits)?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        // 0.5822 is the entropy of probabilities in the ratio 1 : e.
        entropy.iter().for_each(|h| assert_close(*h, 0.5822, 1e-2));
    }
    Ok(())
}

/// Far below 0, 1 + erf and 1 + tanh are small differences of large numbers, which 16 bits cannot
/// tell from 0.
#[test]
fn activations_are_rounded_once_however_small_they_are_on_each_device() -> Result<()> {
    type Activation = fn(&Tensor) -> Result<Tensor>;
    let activations: [(&str, f64, Activation); 4] = [
        // In f32, too, some digits of 1 + erf and 1 + tanh are lost.
        ("gelu", 3e-3, |x| gelu(x, Gelu::Exact)),
        ("gelu_tanh", 3e-3, |x| gelu(x, Gelu::Tanh)),
        ("silu of the gate", 0., |x| silu_mul(x, &(x.ones_like()? * 0.75)?)),
        ("silu times up", 0., |x| silu_mul(&(x.ones_like()? * -3.375)?, x)),
    ];
    for (dtype, rounding) in ROUNDING {
        let x = (Tensor::arange(-32f64, -15., &CPU)?.to_dtype(dtype)? / 8.)?; // -4 to -2
        for (name, lost, activation) in activations {
            let expected = with_gradient(activation, &x.to_dtype(DType::F64)?)?;
            for device in devices()? {
                println!("{name} {dtype:?} {device:?}");
                let actual = with_gradient(activation, &x.to_device(&device)?)?;
                for (actual, expected) in actual.iter().zip(&expected) {
                    assert_relatively_close(actual, expected, rounding + lost)?;
                }
            }
        }
    }
    Ok(())
}

/// Normalized, the last element is 1.34164: 16 bits would round it before the bias is added, which
/// leaves −0.0021. The factor 1 / (1 − 0.1) of dropout would be rounded before it scales. And the
/// sum 256 + 8 · 1 would stop at 256 in bf16.
#[test]
fn scales_and_sums_are_rounded_once_on_each_device() -> Result<()> {
    let positions: Vec<Option<u32>> = (0..9).map(Some).collect();
    for (dtype, tol) in ROUNDING {
        let x = Tensor::new(&[0f64, 1., 2., 3.], &CPU)?.to_dtype(dtype)?;
        let norm = |x: &Tensor| {
            let bias = Tensor::new(&[0f64, 0., 0., -1.34375], x.device())?.to_dtype(x.dtype())?;
            layer_norm(x, &x.ones_like()?, &bias, 1e-5)
        };
        let expected = norm(&x.to_dtype(DType::F64)?)?;
        let long = Tensor::arange(1f64, 1001., &CPU)?.to_dtype(dtype)?;
        let expected_of_dropout = dropout(&long.to_dtype(DType::F64)?, 0.1, 7)?;
        for device in devices()? {
            assert_relatively_close(&norm(&x.to_device(&device)?)?, &expected, tol)?;
            let actual = dropout(&long.to_device(&device)?, 0.1, 7)?;
            assert_relatively_close(&actual, &expected_of_dropout, tol)?;
            let rows = Tensor::new(&[256f32, 1., 1., 1., 1., 1., 1., 1., 1.], &device)?;
            let rows = rows.to_dtype(dtype)?.reshape((9, 1))?;
            let sum = scatter_combine(&rows, &Tensor::ones((1, 9), dtype, &device)?, &positions)?;
            assert_eq!(numbers(&sum)?, [264.]);
        }
    }
    Ok(())
}

/// A sum of ones in bf16 stops at 256.
#[test]
fn the_gradient_of_a_broadcast_parameter_sums_all_rows_on_each_device() -> Result<()> {
    for (dtype, tol) in ROUNDING {
        for device in devices()? {
            let rows = Tensor::new(&[-1f32, 1.], &device)?.to_dtype(dtype)?;
            let rows = rows.broadcast_as((1000, 2))?.contiguous()?;
            let (ones, zeros) = (Tensor::ones(2, dtype, &device)?, rows.zeros_like()?);
            let identity = Tensor::eye(2, dtype, &device)?;
            let cases: [(Op<'_>, [f64; 2]); 5] = [
                (&|weight| rms_norm(&rows, weight, 1e-9), [-1000., 1000.]),
                (&|weight| layer_norm(&rows, weight, &ones, 1e-9), [-1000., 1000.]),
                (&|bias| layer_norm(&rows, &ones, bias, 1e-9), [1000.; 2]),
                (&|bias| add(&zeros, bias), [1000.; 2]),
                (&|bias| linear(&zeros, &identity, Some(bias)), [1000.; 2]),
            ];
            for (f, expected) in cases {
                let [_, grad] = with_gradient(f, &ones)?;
                assert_relatively_close(&grad, &Tensor::new(&expected, &CPU)?, tol)?;
            }
        }
    }
    Ok(())
}
