use candle_core::{DType, Module, Result, Tensor, Var};
use model_io::SlidingWindow;
use model_io::config::{Llama3Scaling, PositionEncoding, RopeParameters, RopeScaling, YarnScaling};
use tensor_core::ops::{self, Positions};
use tensor_core::testing::{assert_close, assert_grad};
use tensor_core::{Rng, backward};

use super::CPU;
use crate::rms_norm::{Norm, rms_norm};
use crate::rope::{Rope, apply_rope};
use crate::sliding_window::can_attend;
use crate::swiglu::silu_mul;

const ROPE: PositionEncoding = PositionEncoding::rope(10_000.);

fn normal(shape: &[usize]) -> Result<Tensor> {
    Rng::new(7).normal_tensor(shape.to_vec(), 1., DType::F64, &CPU)
}

/// Asserts that a reference and its fused version have the same value and gradient.
fn assert_same_value_and_gradient(
    x: &Tensor,
    reference: impl Fn(&Tensor) -> Result<Tensor>,
    fused: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<()> {
    let gradient = |f: &dyn Fn(&Tensor) -> Result<Tensor>| -> Result<(Tensor, Tensor)> {
        let x = Var::from_tensor(x)?;
        let y = f(x.as_tensor())?;
        let weights =
            Tensor::arange(0f64, y.elem_count() as f64, &CPU)?.sin()?.reshape(y.shape())?;
        let grads = backward(&(&y * weights)?.sum_all()?)?;
        Ok((y.detach(), grads.get(x.as_tensor()).expect("a gradient").clone()))
    };
    let (a, b) = (gradient(&reference)?, gradient(&fused)?);
    assert_close(&a.0, &b.0, 1e-6); // angles are rounded to f32
    assert_close(&a.1, &b.1, 1e-6);
    Ok(())
}

#[test]
fn rms_norm_matches_the_worked_example() -> Result<()> {
    // mean(x²) = 7.5, and √7.5 = 2.738613.
    let x = Tensor::new(&[[1f64, 2., 3., 4.]], &CPU)?;
    let y = rms_norm(&x, &Tensor::ones(4, DType::F64, &CPU)?, 1e-8)?;
    let expected = Tensor::new(&[[0.365148f64, 0.730297, 1.095445, 1.460593]], &CPU)?;
    assert_close(&y, &expected, 1e-6);
    Ok(())
}

/// By hand: mean(x²) is 12.5 and 4.75. In bf16, numbers from 1 to 2 are 1/128 apart, so 1 + 1/256
/// would be 1, and the norm 4 / √4.75 = 235/128 and not 236/128 after rounding.
#[test]
fn a_zero_centered_norm_scales_by_1_plus_its_weight_which_16_bits_do_not_round() -> Result<()> {
    let norm = |weight: Tensor| Norm::ZeroCenteredRms { weight, eps: 1e-12 };
    let y = norm(Tensor::new(&[0f64, 1.], &CPU)?).forward(&Tensor::new(&[[3f64, 4.]], &CPU)?)?;
    let root = 12.5f64.sqrt();
    assert_close(&y, &Tensor::new(&[[3. / root, 8. / root]], &CPU)?, 1e-9);
    let weight = Tensor::new(&[1f32 / 256.; 4], &CPU)?.to_dtype(DType::BF16)?;
    let x = Tensor::new(&[[4f32, 1., 1., 1.]], &CPU)?.to_dtype(DType::BF16)?;
    let y = norm(weight).forward(&x)?;
    assert_eq!(y.dtype(), DType::BF16);
    let expected = [[236f32 / 128., 236. / 512., 236. / 512., 236. / 512.]];
    assert_eq!(y.to_dtype(DType::F32)?.to_vec2::<f32>()?, expected);
    Ok(())
}

#[test]
fn rope_matches_the_worked_example() -> Result<()> {
    // Pairs (1, 2) and (3, 4) are rotated by 1 and 0.01 radians at position 1; the pairs are
    // halves.
    let rope = Rope::new(4, ROPE).expect("RoPE");
    let x = Tensor::new(&[1f64, 3., 2., 4.], &CPU)?.reshape((1, 1, 1, 4))?;
    let one = Tensor::new(&[-1.142640f64, 2.959851, 1.922076, 4.029799], &CPU)?;
    let two = Tensor::new(&[-2.234742f64, 2.919405, 0.077004, 4.059196], &CPU)?;
    assert_close(&apply_rope(&x, &rope, 1)?.flatten_all()?, &one, 1e-6);
    assert_close(&apply_rope(&x, &rope, 2)?.flatten_all()?, &two, 1e-6);
    Ok(())
}

#[test]
fn every_reference_equals_its_fused_operation() -> Result<()> {
    let weight = normal(&[6])?;
    assert_same_value_and_gradient(
        &normal(&[3, 6])?,
        |x| rms_norm(x, &weight, 1e-5),
        |x| ops::rms_norm(x, &weight, 1e-5),
    )?;
    let up = normal(&[3, 6])?;
    assert_same_value_and_gradient(
        &(normal(&[3, 6])? * 2.)?,
        |x| silu_mul(x, &up),
        |x| ops::silu_mul(x, &up),
    )?;
    let rope = Rope::new(6, ROPE).expect("RoPE");
    let x = normal(&[2, 5, 3, 6])?;
    for start in [0, 1000] {
        let rotary = rope.table(start, 5, DType::F64, &CPU)?;
        assert_same_value_and_gradient(
            &x,
            |x| apply_rope(x, &rope, start),
            |x| rotary.apply(x, Positions::StartAt(start)),
        )?;
    }
    Ok(())
}

#[test]
fn gradients_of_references_match_finite_differences() -> Result<()> {
    let (weight, rope) = (normal(&[6])?, Rope::new(6, ROPE).expect("RoPE"));
    assert_grad(&normal(&[2, 6])?, |x| rms_norm(x, &weight, 1e-5), 1e-6)?;
    assert_grad(&normal(&[2, 6])?, |x| silu_mul(x, x), 1e-6)?;
    assert_grad(&normal(&[1, 3, 2, 6])?, |x| apply_rope(x, &rope, 5), 1e-6)
}

#[test]
fn attention_logits_depend_on_the_token_distance_only() -> Result<()> {
    let rope = Rope::new(8, ROPE).expect("RoPE");
    let (q, k) = (normal(&[1, 1, 1, 8])?, (normal(&[1, 1, 1, 8])? + 0.5)?);
    let logit = |query: usize, key: usize| -> Result<f64> {
        (apply_rope(&q, &rope, query)? * apply_rope(&k, &rope, key)?)?.sum_all()?.to_scalar()
    };
    assert_close(logit(5, 2)?, logit(1005, 1002)?, 1e-4);
    assert!((logit(5, 2)? - logit(5, 3)?).abs() > 1e-2);
    Ok(())
}

fn rope_with(base: f64, scaling: Option<RopeScaling>) -> PositionEncoding {
    PositionEncoding::Rope(RopeParameters { scaling, ..RopeParameters::new(base) })
}

#[test]
fn llama_3_scaling_lowers_only_low_frequencies() -> Result<()> {
    let scaling = RopeScaling::Llama3(Llama3Scaling {
        factor: 8.,
        low_freq_factor: 1.,
        high_freq_factor: 4.,
        original_context_len: 8192,
    });
    let rope = |scaling| Rope::new(128, rope_with(500_000., scaling)).expect("RoPE");
    let frequencies = |rope: Rope| -> Result<Vec<f64>> {
        // For small angles, sin(angle) ≈ angle; position 1 is the smallest available.
        rope.table(1, 1, DType::F64, &CPU)?.sin().flatten_all()?.to_vec1()
    };
    let (plain, scaled) = (frequencies(rope(None))?, frequencies(rope(Some(scaling)))?);
    assert_eq!(plain[..25], scaled[..25], "more than 4 turns in 8192 positions: unchanged");
    for i in 36..64 {
        let ratio = plain[i] / scaled[i];
        assert_close(ratio, 8., 1e-2); // less than a turn: 8 times lower
    }
    assert!((1.1..7.9).contains(&(plain[31] / scaled[31])), "between: interpolated");
    Ok(())
}

/// Attention temperature: logits grow by the square of the factor.
#[test]
fn yarn_rotates_queries_and_keys_by_scaled_angles_and_enlarges_them() -> Result<()> {
    let scaling = RopeScaling::Yarn(YarnScaling {
        factor: 4.,
        attention_factor: Some(1.5),
        beta_fast: 32.,
        beta_slow: 1.,
        original_context_len: 4, // fewer positions than a turn of any pair takes
    });
    let plain = Rope::new(4, ROPE).expect("RoPE");
    let scaled = Rope::new(4, rope_with(10_000., Some(scaling))).expect("RoPE");
    let x = normal(&[1, 3, 2, 4])?;
    // A fourth of the frequency at position 8 is the frequency at position 2. Pair 0 is unscaled
    // in YaRN's ramp, which begins there.
    let expected = (apply_rope(&x.narrow(1, 0, 1)?, &plain, 2)? * 1.5)?;
    let rotated = apply_rope(&x.narrow(1, 0, 1)?, &scaled, 8)?;
    for channel in [1, 3] {
        assert_close(&rotated.narrow(3, channel, 1)?, &expected.narrow(3, channel, 1)?, 1e-6);
    }
    let fused = scaled.table(8, 3, DType::F64, &CPU)?.apply(&x, Positions::StartAt(8))?;
    assert_close(&fused, &apply_rope(&x, &scaled, 8)?, 1e-12);
    assert_grad(&x, |x| apply_rope(x, &scaled, 8), 1e-6)
}

#[test]
fn a_token_attends_to_its_window_and_the_sinks() {
    let window = SlidingWindow { size: 3, sinks: 2 };
    let visible =
        |query: usize| (0..8).filter(|&key| can_attend(window, query, key)).collect::<Vec<_>>();
    assert_eq!(visible(0), [0]);
    assert_eq!(visible(3), [0, 1, 2, 3]);
    assert_eq!(visible(6), [0, 1, 4, 5, 6]);
}

#[test]
fn the_window_mask_equals_can_attend() -> Result<()> {
    for (size, sinks) in [(1, 0), (3, 0), (3, 2), (2, 5), (100, 1)] {
        let window = SlidingWindow { size, sinks };
        let mask = window.mask().to_tensor(9, 9, DType::F32, &CPU)?.reshape((9, 9))?;
        for (query, row) in mask.to_vec2::<f32>()?.into_iter().enumerate() {
            for (key, number) in row.into_iter().enumerate() {
                assert_eq!(
                    number == 0.,
                    can_attend(window, query, key),
                    "{window:?} {query} {key}"
                );
            }
        }
    }
    Ok(())
}

/// Angles computed in 16 bits would be off by whole radians here.
#[test]
fn tables_in_16_bits_are_exact_ones_rounded() -> Result<()> {
    let rope = Rope::new(64, ROPE).expect("RoPE");
    let exact = rope.table(8001, 5, DType::F64, &CPU)?;
    for (dtype, rounding) in [(DType::BF16, 1. / 512.), (DType::F16, 1. / 4096.)] {
        let table = rope.table(8001, 5, dtype, &CPU)?;
        assert_close(table.sin().to_dtype(DType::F64)?, exact.sin(), rounding);
    }
    Ok(())
}
