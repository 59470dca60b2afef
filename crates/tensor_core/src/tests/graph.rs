//! Autograd graph: every gradient is propagated once and completely, for any mixture of this
//! crate's operations and candle's.

use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Result, Tensor, Var};

use crate::graph::record;
use crate::ops::{AttentionMask, Gelu, add, gelu, linear, self_attention, softmax};
use crate::testing::{assert_close, assert_grad};
use crate::{Rng, backward, reshape};

const CPU: Device = Device::Cpu;

fn random(seed: u64, shape: impl Into<candle_core::Shape>) -> Result<Tensor> {
    Rng::new(seed).normal_tensor(shape, 1., DType::F64, &CPU)
}

#[test]
fn gradients_flow_through_mixed_candle_and_own_operations() -> Result<()> {
    let weight = random(1, (3, 3))?;
    let mixture = |x: &Tensor| {
        let a = linear(&(x * 2.)?, &weight, None)?; // our operation on candle's result
        let b = (gelu(&a, Gelu::Exact)?.transpose(0, 1)? + x)?; // candle's operation on our result
        let c = add(&softmax(&b)?, &a)?; // uses `a` a second time
        linear(&(c.sqr()? * &a)?, &x.tanh()?, None) // uses `x` as a weight
    };
    assert_grad(&random(0, (3, 3))?, mixture, 1e-6)
}

#[test]
fn gradients_flow_through_reshape() -> Result<()> {
    let f = |x: &Tensor| {
        let y = softmax(x)?;
        let again = reshape(&reshape(&y, (3, 2, 2))?, 12)?;
        add(&reshape(&softmax(&again)?, (2, 6))?, &reshape(&y, (2, 6))?)
    };
    assert_grad(&random(0, (2, 6))?, f, 1e-7)?;
    assert_grad(&random(0, (2, 6))?, |x| softmax(&reshape(x, (4, 3))?), 1e-7)
}

#[test]
fn a_result_used_many_times_is_differentiated_once() -> Result<()> {
    let runs = Arc::new(Mutex::new(0));
    let x = Var::from_tensor(&Tensor::new(&[3f64], &CPU)?)?;
    let counted = runs.clone();
    let y = record("twice", [&x], vec![6f64], 1, move |grad, _| {
        *counted.lock().unwrap() += 1;
        Ok([Some((grad * 2.)?)])
    })?;
    let mut sum = y.clone();
    for _ in 0..10 {
        sum = add(&sum, &y)?;
    }
    let grads = backward(&sum)?;
    assert_eq!(grads.get(&x).unwrap().to_vec1::<f64>()?, [22.]);
    assert_eq!(*runs.lock().unwrap(), 1);
    Ok(())
}

#[test]
fn frozen_inputs_are_not_differentiated() -> Result<()> {
    let x = Var::from_tensor(&random(0, 2)?)?;
    let needed = Arc::new(Mutex::new(None));
    let recorded = needed.clone();
    let y =
        record("spy", [x.as_tensor(), &random(1, 2)?], vec![0f64; 2], 2, move |grad, needed| {
            *recorded.lock().unwrap() = Some(needed);
            Ok([Some(grad.clone()), None])
        })?;
    backward(&y)?;
    assert_eq!(*needed.lock().unwrap(), Some([true, false]));
    Ok(())
}

#[test]
fn an_operation_on_constants_builds_no_graph() -> Result<()> {
    let x = random(0, (2, 3, 12))?;
    for y in [softmax(&x)?, gelu(&x, Gelu::Tanh)?, self_attention(&x, 2, &AttentionMask::causal())?]
    {
        assert!(!y.track_op());
    }
    Ok(())
}

#[test]
fn candle_backward_and_a_second_backward_are_explained_errors() -> Result<()> {
    let x = Var::from_tensor(&random(0, (2, 3))?)?;
    let loss = softmax(&x)?.sqr()?.sum_all()?;
    let error = loss.backward().expect_err("an error").to_string();
    assert!(error.contains("softmax: differentiate with tensor_core::backward(&loss)"), "{error}");
    backward(&loss)?;
    let error = backward(&loss).expect_err("an error").to_string();
    assert!(error.contains("softmax: backward was already called on this graph"), "{error}");
    Ok(())
}

#[test]
fn a_graph_is_freed_with_its_result_and_during_the_backward_pass() -> Result<()> {
    let x = Var::from_tensor(&random(0, 2)?)?;
    let saved = Arc::new(());
    let result = || {
        let saved = saved.clone();
        record("holder", [&x], vec![0f64; 2], 2, move |grad, _| {
            drop(saved);
            Ok([Some(grad.clone())])
        })
    };
    let unused = softmax(&softmax(&result()?)?)?;
    assert_eq!(Arc::strong_count(&saved), 2);
    drop(unused);
    assert_eq!(Arc::strong_count(&saved), 1, "freed without a backward pass");
    let loss = softmax(&result()?)?.sum_all()?;
    backward(&loss)?;
    assert_eq!(Arc::strong_count(&saved), 1, "freed while the loss is still alive");
    Ok(())
}

#[test]
fn gradients_of_a_sum_and_of_its_parts_agree() -> Result<()> {
    let x = Var::from_tensor(&random(0, (4, 5))?)?;
    let (a, b) = (|| softmax(&x)?.sqr()?.sum_all(), || gelu(&x, Gelu::Tanh)?.sum_all());
    let whole = backward(&(a()? + b()?)?)?;
    let (a, b) = (backward(&a()?)?, backward(&b()?)?);
    let sum = (a.get(&x).unwrap() + b.get(&x).unwrap())?;
    assert_close(whole.get(&x).unwrap(), &sum, 1e-12);
    Ok(())
}

#[test]
fn dropping_a_deep_graph_does_not_overflow_the_stack() -> Result<()> {
    let start = Var::from_tensor(&random(0, 4)?)?;
    let mut x = start.as_tensor().clone();
    for _ in 0..30_000 {
        x = gelu(&x, Gelu::Exact)?;
    }
    drop(x);
    Ok(())
}

#[test]
fn a_custom_op_of_candle_may_call_backward_itself() -> Result<()> {
    /// Σ gelu(x), whose backward pass runs its forward pass again.
    struct Again;
    impl candle_core::CustomOp1 for Again {
        fn name(&self) -> &'static str {
            "again"
        }
        fn cpu_fwd(
            &self,
            storage: &candle_core::CpuStorage,
            layout: &candle_core::Layout,
        ) -> Result<(candle_core::CpuStorage, candle_core::Shape)> {
            let x = Tensor::from_slice(storage.as_slice::<f64>()?, layout.shape(), &CPU)?;
            let y = gelu(&x, Gelu::Exact)?.sum_all()?.to_scalar::<f64>()?;
            Ok((candle_core::CpuStorage::F64(vec![y]), ().into()))
        }
        fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
            let x = Var::from_tensor(x)?;
            let grads = backward(&gelu(x.as_tensor(), Gelu::Exact)?.sum_all()?)?;
            grads.get(x.as_tensor()).map(|g| g.broadcast_mul(grad)).transpose()
        }
    }
    assert_grad(
        &random(0, 4)?,
        |x| softmax(x)?.apply_op1(Again)? + gelu(x, Gelu::Tanh)?.sum_all()?,
        1e-6,
    )
}
