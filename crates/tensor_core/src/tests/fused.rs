//! Each fused operation against its reference, in f32 (where it has a fast exp) and f64, in value and gradient.

use candle_core::{DType, Device, Result, Tensor, Var};

use crate::Rng;
use crate::ops::{
    self, Gelu, IGNORE_INDEX, cross_entropy, gelu, layer_norm, linear, self_attention, softmax,
};
use crate::testing::{assert_close, assert_grad};

const CPU: Device = Device::Cpu;

/// Runs both functions on the same `inputs` and compares results and gradients.
fn agree(
    inputs: &[Tensor],
    fused: impl Fn(&[Tensor]) -> Result<Tensor>,
    reference: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<()> {
    // f32 rounds at 6e-8; sums over a few hundred terms and gradients of quotients lose a digit or two.
    for (dtype, tol) in [(DType::F64, 1e-11), (DType::F32, 3e-5)] {
        let inputs = inputs.iter().map(|x| x.to_dtype(dtype)).collect::<Result<Vec<_>>>()?;
        let run = |f: &dyn Fn(&[Tensor]) -> Result<Tensor>| {
            let vars = inputs.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
            let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
            let result = f(&tensors)?;
            let grad = Rng::new(77).normal_tensor(result.shape(), 1., dtype, &CPU)?;
            let grads = (&result * grad)?.sum_all()?.backward()?;
            let grads: Vec<Tensor> = vars.iter().map(|v| grads.get(v).unwrap().clone()).collect();
            Ok::<_, candle_core::Error>((result, grads))
        };
        let ((a, grads_a), (b, grads_b)) = (run(&fused)?, run(&reference)?);
        assert_close(&a, &b, tol)?;
        for (a, b) in grads_a.iter().zip(&grads_b) {
            assert_close(a, b, tol)?;
        }
    }
    Ok(())
}

fn random(seed: u64, shape: impl Into<candle_core::Shape>) -> Result<Tensor> {
    Rng::new(seed).normal_tensor(shape, 1.5, DType::F64, &CPU)
}

/// Widths around the lanes of vector units, and rows around the size of a task.
const ROWS_AND_WIDTHS: [(usize, usize); 6] =
    [(1, 1), (3, 5), (2, 16), (7, 33), (300, 70), (2, 17_000)];

#[test]
fn softmax_agrees() -> Result<()> {
    for (rows, width) in ROWS_AND_WIDTHS {
        agree(
            &[random(0, (rows, width))?],
            |x| softmax(&x[0]),
            |x| ops::softmax::reference(&x[0]),
        )?;
    }
    Ok(())
}

#[test]
fn layer_norm_agrees() -> Result<()> {
    for (rows, width) in &ROWS_AND_WIDTHS[1..] {
        let inputs = [random(0, (1, *rows, *width))?, random(1, *width)?, random(2, *width)?];
        agree(
            &inputs,
            |x| layer_norm(&x[0], &x[1], &x[2], 1e-5),
            |x| ops::layer_norm::reference(&x[0], &x[1], &x[2], 1e-5),
        )?;
    }
    Ok(())
}

#[test]
fn both_forms_of_gelu_agree_far_out_too() -> Result<()> {
    let far = Tensor::new(&[-1e4f64, -90., -12., -4., -1e-6, 0., 1e-6, 4., 12., 90., 1e4], &CPU)?;
    for x in [far, random(0, (200, 300))?] {
        for form in [Gelu::Exact, Gelu::Tanh] {
            agree(
                std::slice::from_ref(&x),
                |x| gelu(&x[0], form),
                |x| ops::gelu::reference(&x[0], form),
            )?;
        }
    }
    Ok(())
}

#[test]
fn linear_agrees_with_and_without_bias() -> Result<()> {
    for (rows, n_in, n_out) in [(1, 1, 1), (5, 3, 70), (130, 65, 129)] {
        let inputs = [random(0, (1, rows, n_in))?, random(1, (n_out, n_in))?, random(2, n_out)?];
        agree(
            &inputs,
            |x| linear(&x[0], &x[1], Some(&x[2])),
            |x| ops::linear::reference(&x[0], &x[1], Some(&x[2])),
        )?;
        agree(
            &inputs[..2],
            |x| linear(&x[0], &x[1], None),
            |x| ops::linear::reference(&x[0], &x[1], None),
        )?;
    }
    Ok(())
}

#[test]
fn self_attention_agrees_within_and_across_blocks() -> Result<()> {
    // (B, T, H, D): one token, odd sizes, exactly one block of 64 queries, several and a rest.
    for (b, t, h, d) in [(1, 1, 1, 1), (2, 5, 3, 4), (2, 64, 2, 8), (1, 150, 2, 16)] {
        agree(
            &[random(0, (b, t, 3 * h * d))?],
            |x| self_attention(&x[0], h),
            |x| ops::self_attention::reference(&x[0], h),
        )?;
    }
    assert_grad(&random(1, (1, 4, 18))?, |x| self_attention(x, 2), 1e-6)?;
    let error = self_attention(&random(0, (1, 2, 16))?, 2).unwrap_err().to_string();
    assert!(error.contains("self_attention: [1, 2, 16]"), "{error}");
    Ok(())
}

#[test]
fn self_attention_survives_huge_scores() -> Result<()> {
    let x = (random(0, (1, 6, 12))? * 1e4)?.to_dtype(DType::F32)?;
    let y = self_attention(&x, 2)?.flatten_all()?.to_vec1::<f32>()?;
    assert!(y.iter().all(|y| y.is_finite()), "{y:?}");
    Ok(())
}

#[test]
fn cross_entropy_agrees() -> Result<()> {
    for (rows, width) in &ROWS_AND_WIDTHS[1..] {
        let target = |row: usize| match row % 3 {
            1 => IGNORE_INDEX,
            _ => (row * 31 % width) as i64,
        };
        let targets = Tensor::from_iter((0..*rows).map(target), &CPU)?;
        agree(
            &[random(0, (*rows, *width))?],
            |x| cross_entropy(&x[0], &targets),
            |x| ops::cross_entropy::reference(&x[0], &targets),
        )?;
    }
    Ok(())
}

#[test]
fn an_operation_on_constants_builds_no_graph() -> Result<()> {
    let x = random(0, (2, 3, 12))?;
    for y in [softmax(&x)?, gelu(&x, Gelu::Tanh)?, self_attention(&x, 2)?] {
        assert_eq!(y.sum_all()?.backward()?.get_ids().count(), 1, "only the sum itself");
    }
    Ok(())
}

#[test]
fn an_operation_used_twice_sums_both_gradients() -> Result<()> {
    let x = random(0, (2, 3))?;
    assert_grad(&x, |x| softmax(x)? + softmax(&(x * 2.)?)?, 1e-7)
}
