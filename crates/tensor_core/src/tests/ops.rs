use anyhow::Result;
use candle_core::{DType, Device, IndexOp, Tensor, Var};
use serde_json::Value;

use super::golden;
use crate::ops::{
    AttentionMask, Gelu, IGNORE_INDEX, Positions, add, attention, cross_entropy, embedding,
    entropy, gelu, layer_norm, linear, log_softmax, rms_norm, rope, silu_mul, softmax,
    token_log_probs,
};
use crate::testing::{assert_close, assert_grad, devices};
use crate::{Rng, backward};

fn random(shape: impl Into<candle_core::Shape>) -> candle_core::Result<Tensor> {
    Rng::new(5).normal_tensor(shape, 1., DType::F64, &Device::Cpu)
}

/// Runs `f` on the golden inputs `names` and compares the result and every gradient with PyTorch's.
fn check_golden(
    op: &str,
    names: &[&str],
    f: impl Fn(&[Tensor], &Value) -> candle_core::Result<Tensor>,
) -> Result<()> {
    let entry = &golden::all()?[op];
    for device in devices()? {
        let load = |name: &str| golden::tensor(&entry[name])?.to_device(&device);
        let vars = names
            .iter()
            .map(|name| Var::from_tensor(&load(name)?))
            .collect::<candle_core::Result<Vec<_>>>()?;
        let inputs: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
        let result = f(&inputs, entry)?;
        assert_close(&result, &load("result")?, 1e-12);
        let grads = backward(&(result * load("grad")?)?.sum_all()?)?;
        for (name, var) in names.iter().zip(&vars) {
            assert_close(grads.get(var).unwrap(), &load(&format!("grad_{name}"))?, 1e-9);
        }
    }
    Ok(())
}

#[test]
fn softmax_agrees_with_pytorch_on_each_device() -> Result<()> {
    check_golden("softmax", &["x"], |x, _| softmax(&x[0]))
}

#[test]
fn layer_norm_agrees_with_pytorch_on_each_device() -> Result<()> {
    check_golden("layer_norm", &["x", "weight", "bias"], |x, _| {
        layer_norm(&x[0], &x[1], &x[2], 1e-5)
    })
}

#[test]
fn both_forms_of_gelu_agree_with_pytorch_on_each_device() -> Result<()> {
    check_golden("gelu_exact", &["x"], |x, _| gelu(&x[0], Gelu::Exact))?;
    check_golden("gelu_tanh", &["x"], |x, _| gelu(&x[0], Gelu::Tanh))
}

#[test]
fn masked_cross_entropy_agrees_with_pytorch_on_each_device() -> Result<()> {
    check_golden("cross_entropy", &["x"], |x, entry| {
        cross_entropy(&x[0], &targets_of(entry, x[0].device())?)
    })
}

fn targets_of(entry: &Value, device: &Device) -> candle_core::Result<Tensor> {
    let targets: Vec<i64> = serde_json::from_value(entry["targets"].clone()).unwrap();
    Tensor::new(targets, device)
}

#[test]
fn log_probs_and_entropy_agree_with_pytorch_on_each_device() -> Result<()> {
    check_golden("log_softmax", &["x"], |x, _| log_softmax(&x[0]))?;
    check_golden("entropy", &["logits"], |x, _| entropy(&x[0]))?;
    check_golden("token_log_probs", &["logits"], |x, entry| {
        token_log_probs(&x[0], &targets_of(entry, x[0].device())?)
    })
}

#[test]
fn rms_norm_and_the_gate_of_swiglu_agree_with_pytorch_on_each_device() -> Result<()> {
    check_golden("rms_norm", &["x", "weight"], |x, _| rms_norm(&x[0], &x[1], 1e-6))?;
    check_golden("silu_mul", &["gate", "up"], |x, _| silu_mul(&x[0], &x[1]))
}

#[test]
fn rope_agrees_with_pytorch_on_each_device() -> Result<()> {
    // Angles position · 10000^(−2i / D) for D = 4: the frequencies are 1 and 1/100.
    let angles = |f: fn(f64) -> f64| (0..10).flat_map(move |p| [f(p as f64), f(p as f64 / 100.)]);
    check_golden("rope", &["x"], |x, entry| {
        let starts: Vec<i64> = serde_json::from_value(entry["offsets"].clone()).unwrap();
        let table = |f| Tensor::from_iter(angles(f), x[0].device())?.reshape((10, 2));
        rope(&x[0], &table(f64::cos)?, &table(f64::sin)?, Positions::RowStarts(&starts))
    })
}

#[test]
fn attention_agrees_with_pytorch_under_every_mask_on_each_device() -> Result<()> {
    let check = |op: &str, mask: &dyn Fn(&Value) -> candle_core::Result<AttentionMask>| {
        check_golden(op, &["q", "k", "v"], |x, entry| attention(&x[0], &x[1], &x[2], &mask(entry)?))
    };
    let number = |entry: &Value, name: &str| entry[name].as_u64().unwrap() as usize;
    check("attention_causal", &|_| Ok(AttentionMask::causal()))?;
    check("attention_grouped", &|_| Ok(AttentionMask::causal()))?;
    check("attention_window", &|e| {
        Ok(AttentionMask::sliding_window(number(e, "window"), number(e, "sinks")))
    })?;
    check("attention_cached", &|e| Ok(AttentionMask::causal().with_offset(number(e, "cached"))))?;
    check("attention_padding", &|e| {
        let lengths: Vec<u32> = serde_json::from_value(e["lengths"].clone()).unwrap();
        let attention_mask =
            lengths.iter().flat_map(|&n| (0..5).map(move |key| u32::from(key < n)));
        let attention_mask =
            Tensor::from_iter(attention_mask, &Device::Cpu)?.reshape((lengths.len(), 5))?;
        AttentionMask::bidirectional().with_padding(&attention_mask)
    })?;
    check("attention_segments", &|e| {
        let segments: Vec<u32> = serde_json::from_value(e["segments"].clone()).unwrap();
        let segments = Tensor::new(vec![segments.clone(), segments], &Device::Cpu)?;
        AttentionMask::causal().with_segment_ids(&segments)
    })
}

#[test]
fn gradients_match_finite_differences() -> Result<()> {
    let x = random((2, 3, 4))?;
    assert_grad(&x, softmax, 1e-7)?;
    assert_grad(&x, |x| gelu(x, Gelu::Exact), 1e-7)?;
    assert_grad(&x, |x| gelu(x, Gelu::Tanh), 1e-7)?;
    let (weight, bias) = (random((5, 4))?, random(5)?);
    assert_grad(&x, |x| linear(x, &weight, Some(&bias)), 1e-7)?;
    assert_grad(&weight, |w| linear(&x, w, Some(&bias)), 1e-7)?;
    assert_grad(&bias, |b| linear(&x, &weight, Some(b)), 1e-7)?;
    let (scale, shift) = (random(4)?, random(4)?);
    assert_grad(&x, |x| layer_norm(x, &scale, &shift, 1e-5), 1e-6)?;
    assert_grad(&scale, |s| layer_norm(&x, s, &shift, 1e-5), 1e-7)?;
    assert_grad(&shift, |s| layer_norm(&x, &scale, s, 1e-5), 1e-7)?;
    let ids = Tensor::new(&[[0u32, 2], [2, 4]], &Device::Cpu)?; // row 2 twice: its gradients add up
    assert_grad(&weight, |w| embedding(w, &ids), 1e-7)?;
    let targets = Tensor::new(&[[0i64, 3, IGNORE_INDEX], [1, IGNORE_INDEX, 2]], &Device::Cpu)?;
    assert_grad(&x, |x| cross_entropy(x, &targets), 1e-7)?;
    assert_grad(&x, |x| token_log_probs(x, &targets), 1e-7)?;
    assert_grad(&x, entropy, 1e-7)?;
    assert_grad(&x, log_softmax, 1e-7)?;
    assert_grad(&x, |x| rms_norm(x, &scale, 1e-5), 1e-6)?;
    assert_grad(&scale, |s| rms_norm(&x, s, 1e-5), 1e-7)?;
    assert_grad(&x, |x| silu_mul(x, &x.cos()?), 1e-7)?;
    assert_grad(&x, |x| add(&silu_mul(x, x)?, &bias.narrow(0, 0, 4)?), 1e-7)?;
    let tables = (random((9, 2))?, shift.reshape((1, 4))?.repeat((9, 1))?.narrow(1, 0, 2)?);
    let heads = random((2, 3, 2, 4))?;
    let positions = Positions::RowStarts(&[4, -1]);
    assert_grad(&heads, |x| rope(x, &tables.0, &tables.1, positions), 1e-7)?;
    Ok(())
}

#[test]
fn the_layout_of_the_input_changes_neither_value_nor_gradient() -> Result<()> {
    let x = random((4, 3, 2))?;
    let (weight, scale) = (random((5, 4))?, random(4)?);
    for f in [
        &|x: &Tensor| softmax(x) as candle_core::Result<Tensor>,
        &|x: &Tensor| gelu(x, Gelu::Tanh),
        &|x: &Tensor| linear(x, &weight, None),
        &|x: &Tensor| layer_norm(x, &scale, &scale, 1e-5),
    ] as [&dyn Fn(&Tensor) -> candle_core::Result<Tensor>; 4]
    {
        let transposed = x.transpose(0, 2)?; // (2, 3, 4), not contiguous
        assert_close(&f(&transposed)?, &f(&transposed.contiguous()?)?, 1e-14);
        assert_grad(&x, |x| f(&x.transpose(0, 2)?), 1e-6)?;
    }
    Ok(())
}

#[test]
fn softmax_rows_sum_to_one_and_fully_masked_rows_are_zero() -> Result<()> {
    let hidden = f32::NEG_INFINITY;
    let x = Tensor::new(&[[1e4f32, 0., hidden], [hidden; 3], [-1e4, -1e4, hidden]], &Device::Cpu)?;
    let y = softmax(&x)?.to_vec2::<f32>()?;
    assert_eq!(y, [[1., 0., 0.], [0.; 3], [0.5, 0.5, 0.]]);
    let var = Var::from_tensor(&x)?;
    let grads = backward(&softmax(var.as_tensor())?.i((.., 0))?.sum_all()?)?;
    let grad = grads.get(&var).unwrap().flatten_all()?.to_vec1::<f32>()?;
    assert!(grad.iter().all(|g| g.is_finite()), "{grad:?}");
    Ok(())
}

#[test]
fn cross_entropy_without_any_target_is_zero_and_so_is_its_gradient() -> Result<()> {
    let x = Var::from_tensor(&random((2, 3))?)?;
    let loss = cross_entropy(&x, &Tensor::new(&[IGNORE_INDEX; 2], &Device::Cpu)?)?;
    assert_eq!(loss.to_scalar::<f64>()?, 0.);
    let grads = backward(&loss)?;
    assert_close(grads.get(&x).unwrap(), &x.zeros_like()?, 0.);
    Ok(())
}

#[test]
fn cross_entropy_is_finite_at_huge_logits_and_skips_ignored_rows() -> Result<()> {
    let huge = Tensor::new(&[[1e4f32, -1e4], [1e4, -1e4]], &Device::Cpu)?;
    let loss = |targets: [i64; 2]| {
        cross_entropy(&huge, &Tensor::new(&targets, &Device::Cpu)?)?.to_scalar::<f32>()
    };
    assert_eq!(loss([0, 0])?, 0.);
    assert_eq!(loss([1, 0])?, 1e4); // the mean of 2e4 and 0
    assert_eq!(
        loss([1, IGNORE_INDEX])?,
        2e4,
        "an ignored row counts neither in the sum nor in the number of targets"
    );
    Ok(())
}

#[test]
fn values_and_gradients_stay_finite_for_huge_inputs() -> Result<()> {
    let x = Tensor::new(&[[1e4f32, -1e4, 0., 3.], [-1e4, -1e4, -1e4, -1e4]], &Device::Cpu)?;
    let ones = Tensor::ones(4, DType::F32, &Device::Cpu)?;
    let targets = Tensor::new(&[1i64, 2], &Device::Cpu)?;
    let finite = |f: &dyn Fn(&Tensor) -> candle_core::Result<Tensor>| -> Result<()> {
        let x = Var::from_tensor(&x)?;
        let y = f(&x)?;
        let grads = backward(&y)?;
        for values in [&y, grads.get(&x).unwrap()] {
            let values = values.flatten_all()?.to_vec1::<f32>()?;
            assert!(values.iter().all(|x| x.is_finite()), "{values:?}");
        }
        Ok(())
    };
    finite(&softmax)?;
    finite(&log_softmax)?;
    finite(&entropy)?;
    finite(&|x| token_log_probs(x, &targets))?;
    finite(&|x| cross_entropy(x, &targets))?;
    finite(&|x| gelu(x, Gelu::Exact))?;
    finite(&|x| gelu(x, Gelu::Tanh))?;
    finite(&|x| silu_mul(x, &ones.broadcast_as((2, 4))?))?;
    finite(&|x| rms_norm(x, &ones, 1e-5))?;
    finite(&|x| layer_norm(x, &ones, &ones, 1e-5))
}

#[test]
fn linear_results_do_not_depend_on_the_batch_size() -> Result<()> {
    let mut rng = Rng::new(4);
    for (k, m) in [(1, 1), (7, 5), (64, 40), (129, 33)] {
        let x = rng.normal_tensor((16, k), 1., DType::F32, &Device::Cpu)?;
        let w = rng.normal_tensor((m, k), 1., DType::F32, &Device::Cpu)?;
        let bias = rng.normal_tensor(m, 1., DType::F32, &Device::Cpu)?;
        let all = linear(&x, &w, Some(&bias))?.to_vec2::<f32>()?;
        for n in 1..16 {
            let first = linear(&x.narrow(0, 0, n)?, &w, Some(&bias))?.to_vec2::<f32>()?;
            assert_eq!(first, all[..n], "{n} x {m} x {k}");
        }
    }
    Ok(())
}
