//! Soft caps of logits: values by hand, gradients, and attention with capped logits.

use candle_core::{DType, IndexOp, Result, Tensor, Var};

use super::attention::masks;
use super::fused::random;
use crate::backward;
use crate::ops::{AttentionMask, attention, softcap, softcap_attention, softcap_attention_weights};
use crate::testing::{assert_close, assert_grad};

const CPU: candle_core::Device = candle_core::Device::Cpu;

#[test]
fn a_softcap_keeps_small_numbers_and_bounds_large_ones() -> Result<()> {
    let x = Tensor::new(&[0f64, 0.01, 5., -5., 1e6, -1e6], &CPU)?;
    // c · tanh(x / c) in Python, with c = 5
    let expected = [0., 0.00999998666669, 3.80797077977882, -3.80797077977882, 5., -5.];
    assert_close(&softcap(&x, 5.)?, &Tensor::new(&expected, &CPU)?, 1e-12);
    assert_grad(&x.narrow(0, 0, 4)?, |x| softcap(x, 5.), 1e-8)
}

/// q = [1, 2] and k = [[3, 1], [0, 4]] without a mask: logits (5, 8) / √2, capped at 2.
#[test]
fn weights_of_capped_logits_follow_the_formula() -> Result<()> {
    let q = Tensor::new(&[1f64, 2.], &CPU)?.reshape((1, 1, 1, 2))?;
    let k = Tensor::new(&[3f64, 1., 0., 4.], &CPU)?.reshape((1, 2, 1, 2))?;
    let mask = AttentionMask::bidirectional();
    let weights = softcap_attention_weights(&q, &k, &mask, 2.)?.flatten_all()?.to_vec1::<f64>()?;
    let capped = [5f64, 8.].map(|logit| 2. * (logit / 2f64.sqrt() / 2.).tanh());
    let odds = (capped[0] - capped[1]).exp();
    assert_close(&weights[..], &[odds / (1. + odds), 1. / (1. + odds)][..], 1e-12);
    Ok(())
}

#[test]
fn gradients_of_capped_attention_match_finite_differences() -> Result<()> {
    let (q, kv) = (random(0, (2, 3, 4, 2)), random(1, (2, 5, 2, 2)));
    for mask in masks(2, 3, 5) {
        // Logits are up to about 5.
        for cap in [0.5, 3.] {
            let capped = |q: &Tensor, kv: &Tensor| softcap_attention(q, kv, kv, &mask, cap);
            assert_grad(&q, |q| capped(q, &kv), 1e-6)?;
            assert_grad(&kv, |kv| capped(&q, kv), 1e-6)?;
        }
    }
    Ok(())
}

/// (B, S, KV, D) to (B, S, H, D): every key head once for each of its query heads.
fn repeat_heads(x: &Tensor, h: usize) -> Result<Tensor> {
    let (b, s, kv, d) = x.dims4()?;
    x.unsqueeze(3)?.broadcast_as((b, s, kv, h / kv, d))?.reshape((b, s, h, d))
}

/// Query head h belongs to key head h / (H / KV). Values in a cache with room for more tokens, too.
#[test]
fn grouped_heads_give_the_values_and_gradients_of_repeated_ones() -> Result<()> {
    for (b, kv) in [(1, 2), (2, 2), (2, 1)] {
        let (q, weights) = (random(0, (b, 3, 4, 2)), random(3, (b, 3, 4, 2)));
        let [keys, values] = [random(1, (b, 8, kv, 2)), random(2, (b, 8, kv, 2))];
        let [cached_keys, cached_values] = [keys.narrow(1, 0, 5)?, values.narrow(1, 0, 5)?];
        for mask in masks(b, 3, 5) {
            let grouped =
                |q: &Tensor, k: &Tensor, v: &Tensor| softcap_attention(q, k, v, &mask, 2.);
            let repeated = |q: &Tensor, k: &Tensor, v: &Tensor| {
                grouped(q, &repeat_heads(k, 4)?, &repeat_heads(v, 4)?)
            };
            let [actual, expected] = [
                grouped(&q, &cached_keys, &cached_values)?,
                repeated(&q, &cached_keys, &cached_values)?,
            ];
            assert_close(&actual, &expected, 1e-12);
            let vars = [&q, &cached_keys, &cached_values].map(Var::from_tensor);
            let [q, k, v] = vars;
            let (q, k, v) = (q?, k?, v?);
            let gradients = |output: Tensor| backward(&(output * &weights)?.sum_all()?);
            let [actual, expected] =
                [gradients(grouped(&q, &k, &v)?)?, gradients(repeated(&q, &k, &v)?)?];
            for x in [&q, &k, &v] {
                let [actual, expected] = [&actual, &expected]
                    .map(|gradients| gradients.get(x.as_tensor()).expect("a gradient"));
                assert_close(actual, expected, 1e-12);
            }
        }
    }
    Ok(())
}

/// A cap far above the logits changes nothing, and one far below them makes them all equal but for
/// their signs.
#[test]
fn the_cap_decides_how_far_weights_can_differ_under_any_mask() -> Result<()> {
    let (q, kv) = (random(0, (2, 3, 4, 2)), random(1, (2, 5, 2, 2)));
    for mask in masks(2, 3, 5) {
        let uncapped = attention(&q, &kv, &kv, &mask)?;
        assert_close(&softcap_attention(&q, &kv, &kv, &mask, 1e6)?, &uncapped, 1e-9);
        // Two logits differ by at most 2 c.
        let weights = softcap_attention_weights(&q, &kv, &mask, 0.1)?.flatten_to(2)?; // (B H T, S)
        for row in weights.to_vec2::<f64>()? {
            let visible = || row.iter().copied().filter(|&weight| weight > 0.);
            let [least, most] = [visible().fold(1., f64::min), visible().fold(0., f64::max)];
            assert!(most <= least * f64::exp(0.2) * (1. + 1e-12), "{row:?}");
        }
    }
    Ok(())
}

/// A cap must not bring back keys that the mask hides, and their gradient is 0.
#[test]
fn hidden_keys_stay_hidden_under_a_cap() -> Result<()> {
    let (q, k) = (random(0, (1, 4, 2, 3)), random(1, (1, 4, 1, 3)));
    let mask = AttentionMask::sliding_window(2, 0);
    let weights = softcap_attention_weights(&q, &k, &mask, 0.5)?.i((0, 1))?;
    for (query, row) in weights.to_vec2::<f64>()?.iter().enumerate() {
        for (key, weight) in row.iter().enumerate() {
            assert_eq!(*weight > 0., key <= query && key + 2 > query, "{query} {key}");
        }
    }
    // The last query attends to the keys 2 and 3.
    let [keys, values] = [Var::from_tensor(&k)?, Var::from_tensor(&random(2, (1, 4, 1, 3)))?];
    let last = softcap_attention(&q, &keys, &values, &mask, 0.5)?.narrow(1, 3, 1)?; // (1, 1, 2, 3)
    let gradients = backward(&last.sqr()?.sum_all()?)?;
    for x in [&keys, &values] {
        let gradient = gradients.get(x.as_tensor()).expect("a gradient").i((0, .., 0))?; // (4, 3)
        for (key, row) in gradient.to_vec2::<f64>()?.iter().enumerate() {
            assert_eq!(row.iter().any(|x| *x != 0.), key >= 2, "{key}: {row:?}");
        }
    }
    let half = softcap_attention(
        &q.to_dtype(DType::BF16)?,
        &k.to_dtype(DType::BF16)?,
        &k.to_dtype(DType::BF16)?,
        &mask,
        0.5,
    )?;
    assert_close(&half.to_dtype(DType::F64)?, &softcap_attention(&q, &k, &k, &mask, 0.5)?, 0.03);
    Ok(())
}
