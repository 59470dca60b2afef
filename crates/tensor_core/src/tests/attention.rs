//! Attention under every mask: comparison with its reference, and properties of the masks.

use candle_core::{DType, Device, IndexOp, Result, Tensor, Var};
use proptest::prelude::*;

use super::fused::{agree, random};
use crate::ops::{self, AttentionMask, attention, attention_weights};
use crate::testing::{assert_close, assert_grad};
use crate::{backward, reshape};

const CPU: Device = Device::Cpu;

/// One mask of each kind for S keys, where the queries are the last T tokens.
pub(super) fn masks(b: usize, t: usize, s: usize) -> Vec<AttentionMask> {
    let last = s - t;
    let per_key = |f: &dyn Fn(usize, usize) -> u32| {
        let values = (0..b * s).map(|i| f(i / s, i % s));
        Tensor::from_iter(values, &CPU).unwrap().reshape((b, s)).unwrap()
    };
    let left_padding = per_key(&|row, key| u32::from(key >= row % 3));
    let first_row_empty = per_key(&|row, _| u32::from(row > 0));
    let segments = per_key(&|row, key| (key / (2 + row)) as u32);
    let window = AttentionMask::sliding_window(s / 3 + 1, 2).with_offset(last);
    let prefix_lens = (0..b).map(|row| (3 + row).min(s)).collect();
    vec![
        AttentionMask::causal().with_offset(last),
        AttentionMask::bidirectional(),
        AttentionMask::sliding_window(1, 0).with_offset(last),
        window.clone(),
        AttentionMask::bidirectional().with_padding(&left_padding).unwrap(),
        AttentionMask::causal().with_offset(last).with_padding(&first_row_empty).unwrap(),
        window.with_padding(&left_padding).unwrap(),
        AttentionMask::causal().with_offset(last).with_segment_ids(&segments).unwrap(),
        AttentionMask::bidirectional().with_offset(last).with_segment_ids(&segments).unwrap(),
        AttentionMask::causal()
            .with_offset(last)
            .with_segment_ids(&segments)
            .unwrap()
            .with_shared_prefixes(prefix_lens)
            .unwrap(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 12,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn attention_matches_its_reference_under_every_mask_on_each_device(
        b in 1usize..3,
        kv in 1usize..3,
        group in 1usize..4,
        d in 1usize..20,
        // One query, odd sizes, exactly one block of 64 queries, several and a partial one.
        t in prop_oneof![Just(1usize), 1usize..12, Just(64), Just(150)],
        cached in 0usize..40,
    ) {
        let s = t + cached;
        let (q, k) = (random(0, (b, t, kv * group, d)), random(1, (b, s, kv, d)));
        for mask in masks(b, t, s) {
            agree(
                &[q.clone(), k.clone(), random(2, (b, s, kv, d))],
                &|x| attention(&x[0], &x[1], &x[2], &mask),
                &|x| ops::attention::reference(&x[0], &x[1], &x[2], &mask),
            );
        }
    }
}

#[test]
fn attention_gradients_match_finite_differences() -> Result<()> {
    let (q, kv) = (random(0, (2, 3, 4, 2)), random(1, (2, 5, 2, 2)));
    for mask in masks(2, 3, 5) {
        assert_grad(&q, |q| attention(q, &kv, &kv, &mask), 1e-6)?;
        assert_grad(&kv, |kv| attention(&q, kv, kv, &mask), 1e-6)?;
    }
    Ok(())
}

#[test]
fn a_sliding_window_with_sinks_follows_its_definition() -> Result<()> {
    let (window, sinks, offset) = (3, 2, 4);
    let mask = AttentionMask::sliding_window(window, sinks).with_offset(offset);
    let x = mask.to_tensor(5, 9, DType::F32, &CPU)?.i((0, 0))?.to_vec2::<f32>()?;
    for (t, row) in x.iter().enumerate() {
        let i = t + offset;
        let visible = |j: usize| j <= i && (j < sinks || j + window > i);
        let expected: Vec<f32> =
            (0..9).map(|j| if visible(j) { 0. } else { f32::NEG_INFINITY }).collect();
        assert_eq!(row, &expected, "query {i}");
    }
    Ok(())
}

#[test]
fn a_fully_masked_query_gives_zeros_and_a_zero_gradient() -> Result<()> {
    let attention_mask = Tensor::new(&[[0u32, 0], [1, 1]], &CPU)?;
    let mask = AttentionMask::bidirectional().with_padding(&attention_mask)?;
    let x = Var::from_tensor(&random(0, (2, 2, 1, 3)))?;
    let y = attention(&x, &x, &x, &mask)?;
    assert_close(&y.i(0)?, &y.i(0)?.zeros_like()?, 0.);
    let grads = backward(&y.sum_all()?)?;
    let grad = grads.get(&x).expect("a gradient").i(0)?;
    assert_close(&grad, &grad.zeros_like()?, 0.);
    Ok(())
}

#[test]
fn the_future_never_leaks_into_the_past() -> Result<()> {
    let x = random(0, (1, 90, 2, 4));
    let edited = Tensor::cat(&[x.narrow(1, 0, 89)?, random(1, (1, 1, 2, 4))], 1)?; // new last token
    let past = |x: &Tensor| attention(x, x, x, &AttentionMask::causal())?.narrow(1, 0, 89);
    assert_close(&past(&x)?, &past(&edited)?, 0.);
    Ok(())
}

#[test]
fn packed_sequences_do_not_attend_to_each_other() -> Result<()> {
    let (a, b) = (random(0, (1, 70, 2, 4)), random(1, (1, 30, 2, 4)));
    let packed = Tensor::cat(&[&a, &b], 1)?;
    let segments =
        Tensor::from_iter((0..100).map(|i| u32::from(i >= 70)), &CPU)?.reshape((1, 100))?;
    let y = attention(
        &packed,
        &packed,
        &packed,
        &AttentionMask::causal().with_segment_ids(&segments)?,
    )?;
    let alone = |x: &Tensor| attention(x, x, x, &AttentionMask::causal());
    assert_close(&y, &Tensor::cat(&[alone(&a)?, alone(&b)?], 1)?, 1e-12);
    Ok(())
}

#[test]
fn attention_weights_reproduce_the_attention_output() -> Result<()> {
    let (q, k) = (random(0, (2, 4, 2, 3)), random(1, (2, 6, 1, 3)));
    let mask = AttentionMask::causal().with_offset(2);
    let weights = attention_weights(&q, &k, &mask)?; // (B, H, T, S)
    assert_close(&weights.sum(3)?, &Tensor::ones((2, 2, 4), DType::F64, &CPU)?, 1e-12);
    let values = k.transpose(1, 2)?.broadcast_as((2, 2, 6, 3))?.contiguous()?; // (B, H, S, D)
    let by_weights = weights.matmul(&values)?.transpose(1, 2)?;
    assert_close(&attention(&q, &k, &k, &mask)?, &by_weights, 1e-12);
    Ok(())
}

#[test]
fn attention_stays_finite_for_huge_scores() -> Result<()> {
    let x = Var::from_tensor(&(random(0, (1, 6, 2, 4)) * 1e4)?.to_dtype(DType::F32)?)?;
    for mask in masks(1, 6, 6) {
        let y = attention(&x, &x, &x, &mask)?;
        let grads = backward(&reshape(&y, ((), 4))?.sum_all()?)?;
        for values in [&y, grads.get(&x).expect("a gradient")] {
            let values = values.flatten_all()?.to_vec1::<f32>()?;
            assert!(values.iter().all(|x| x.is_finite()), "{mask:?}: {values:?}");
        }
    }
    Ok(())
}

#[test]
fn attention_rejects_mismatched_shapes_and_masks() -> Result<()> {
    let x = |b, t, h, d| random(0, (b, t, h, d));
    let mask = AttentionMask::causal();
    let error = |q: &Tensor, k: &Tensor, v: &Tensor, mask: &AttentionMask| {
        attention(q, k, v, mask).expect_err("mismatch").to_string()
    };
    let q = x(2, 3, 4, 6);
    let text = error(&q, &x(2, 3, 3, 6), &x(2, 3, 3, 6), &mask);
    assert!(
        text.contains("4 query heads cannot share 3 key heads: [2, 3, 4, 6], [2, 3, 3, 6]"),
        "{text}"
    );
    let text = error(&q, &x(2, 3, 4, 5), &x(2, 3, 4, 5), &mask);
    assert!(text.contains("attention: shapes do not fit: q [2, 3, 4, 6]"), "{text}");
    let text = error(&q, &x(2, 3, 4, 6), &x(2, 4, 4, 6), &mask);
    assert!(text.contains("attention: shapes do not fit"), "{text}");
    let text = error(&q, &x(2, 2, 4, 6), &x(2, 2, 4, 6), &mask);
    assert!(text.contains("3 queries after 0 keys need more keys than 2"), "{text}");
    let attention_mask =
        AttentionMask::bidirectional().with_padding(&Tensor::ones((1, 3), DType::U8, &CPU)?)?;
    let text = error(&q, &q, &q, &attention_mask);
    assert!(text.contains("the mask is for keys (B, S) = (1, 3)"), "{text}");
    let text = error(&q, &q.to_dtype(DType::F32)?, &q, &mask);
    assert!(text.contains("attention: dtypes differ"), "{text}");
    let text = error(&x(2, 0, 4, 6), &q, &q, &mask);
    assert!(text.contains("attention: an empty tensor: q [2, 0, 4, 6]"), "{text}");
    Ok(())
}

#[test]
fn padding_and_segment_masks_combine() -> Result<()> {
    // Every value other than 0 is a token.
    let attention_mask = Tensor::new(&[[0f32, 0.5, 1., 1.]], &CPU)?;
    let segments = Tensor::new(&[[7i64, 7, 7, -1]], &CPU)?;
    let both = [
        AttentionMask::causal().with_padding(&attention_mask)?.with_segment_ids(&segments)?,
        AttentionMask::causal().with_segment_ids(&segments)?.with_padding(&attention_mask)?,
    ];
    for mask in both {
        let visible = mask.to_tensor(4, 4, DType::F32, &CPU)?.reshape((4, 4))?.to_vec2::<f32>()?;
        let visible: Vec<Vec<u8>> = visible
            .into_iter()
            .map(|row| row.into_iter().map(|x| u8::from(x == 0.)).collect())
            .collect();
        assert_eq!(visible, [[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]);
        let x = random(3, (1, 4, 2, 4));
        assert_close(
            &attention(&x, &x, &x, &mask)?,
            &attention::reference(&x, &x, &x, &mask)?,
            1e-12,
        );
    }
    assert!(
        AttentionMask::causal().with_segment_ids(&attention_mask).is_err(),
        "segment ids must be integers"
    );
    Ok(())
}

#[test]
fn a_window_of_usize_max_equals_causal_attention() -> Result<()> {
    let x = random(3, (1, 5, 2, 4));
    let causal = attention(&x, &x, &x, &AttentionMask::causal())?;
    for mask in
        [AttentionMask::sliding_window(usize::MAX, 0), AttentionMask::sliding_window(2, usize::MAX)]
    {
        assert_close(&attention(&x, &x, &x, &mask)?, &causal, 1e-12);
        assert_close(&attention::reference(&x, &x, &x, &mask)?, &causal, 1e-12);
    }
    Ok(())
}

#[test]
fn nan_inputs_give_nan_outputs() -> Result<()> {
    let nan =
        Tensor::new(&[[f64::NAN, f64::NAN], [1., f64::NAN], [f64::NEG_INFINITY, f64::NAN]], &CPU)?;
    let all_nan = |y: Tensor| -> Result<bool> {
        Ok(y.flatten_all()?.to_vec1::<f64>()?.iter().all(|x| x.is_nan()))
    };
    assert!(all_nan(crate::ops::softmax(&nan)?)? && all_nan(crate::ops::log_softmax(&nan)?)?);
    let q = (random(0, (1, 3, 1, 2)) * f64::NAN)?;
    let k = random(1, (1, 3, 1, 2));
    assert!(all_nan(attention(&q, &k, &k, &AttentionMask::causal())?)?);
    Ok(())
}

#[test]
fn attention_reads_a_strided_kv_cache() -> Result<()> {
    let (q, buffer) = (random(0, (2, 3, 4, 6)), random(1, (2, 16, 2, 6)));
    for cache in [buffer.narrow(1, 0, 7)?, buffer.narrow(1, 5, 7)?] {
        let copy = cache.contiguous()?;
        let mask = AttentionMask::sliding_window(4, 1).with_offset(4);
        assert_close(
            &attention(&q, &cache, &cache, &mask)?,
            &attention(&q, &copy, &copy, &mask)?,
            1e-12,
        );
    }
    // Each head is contiguous, but the tokens are strided.
    let heads_first = random(2, (2, 2, 7, 6)).transpose(1, 2)?;
    let mask = AttentionMask::causal().with_offset(4);
    let expected = attention::reference(&q, &heads_first, &heads_first, &mask)?;
    assert_close(&attention(&q, &heads_first, &heads_first, &mask)?, &expected, 1e-12);
    Ok(())
}
