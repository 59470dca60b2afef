//! Chapter 3.

use anyhow::Result;
use candle_core::Tensor;
use tensor_core::testing::assert_close;

use super::{normal, softmax, tensor};
use crate::masks;
use crate::online_softmax::Running;
use crate::rotation::{dot, rotated};

#[test]
fn rms_norm_of_the_text() -> Result<()> {
    let x = tensor(&[3., 4., 0., 0.])?;
    let norm = |x: &Tensor| modern::rms_norm::rms_norm(x, &x.ones_like()?, 0.);
    assert_close(norm(&x)?, tensor(&[1.2, 1.6, 0., 0.])?, 1e-12);
    assert_close(norm(&(&x * 10.)?)?, norm(&x)?, 1e-12);
    assert_close(x.mean_all()?, tensor(&[1.75])?.squeeze(0)?, 1e-12);
    Ok(())
}

#[test]
fn a_score_of_rotated_vectors_depends_on_their_distance_alone() -> Result<()> {
    let (q, k) = (normal(16, 1), normal(16, 2));
    let score = |m: usize, n: usize| -> Result<f64> { Ok(dot(&rotated(&q, m)?, &rotated(&k, n)?)) };
    for (m, n) in [(5, 3), (40, 12), (7, 7)] {
        for offset in [1, 100, 1000] {
            assert_close(score(m + offset, n + offset)?, score(m, n)?, 1e-3); // f32 angles
        }
    }
    assert!((score(5, 3)? - score(3, 5)?).abs() > 0.1, "but on its sign");
    assert_close(dot(&rotated(&q, 9)?, &rotated(&q, 9)?), dot(&q, &q), 1e-5);
    Ok(())
}

#[test]
fn the_vector_1_2_3_4_at_position_1() -> Result<()> {
    let found = rotated(&[1., 2., 3., 4.], 1)?;
    assert_close(found, [-1.984, 1.960, 2.462, 4.020], 5e-4);
    Ok(())
}

#[test]
fn attention_block_by_block_is_attention() {
    for (seed, block) in [(1, 1), (2, 3), (3, 7), (4, 100)] {
        let scores: Vec<f64> = normal(20, seed).iter().map(|s| 300. * s).collect();
        let values: Vec<Vec<f64>> = (0..20).map(|i| normal(4, 100 + i)).collect();
        let mut running = Running::new(4);
        for (scores, values) in scores.chunks(block).zip(values.chunks(block)) {
            running.extend(scores, values);
        }
        let max = scores.iter().copied().fold(f64::MIN, f64::max);
        let weights = softmax(&scores.iter().map(|s| s - max).collect::<Vec<_>>());
        let column = |c: usize| weights.iter().zip(&values).map(|(w, row)| w * row[c]).sum();
        let expected: [f64; 4] = std::array::from_fn(column);
        assert_close(running.finish(), expected, 1e-12);
    }
}

#[test]
fn the_running_sum_of_the_text() {
    let e = |x: f64| x.exp();
    assert_close([e(-2.) + 1., e(-2.) + 1. + e(-1.)], [1.135, 1.503], 5e-4);
    assert_close([10_000f64.powf(-0.2), 8. / 3. * 128.], [0.158, 341.], 1e-3);
    assert_eq!(2u64 * 32 * 8192 * 8 * 128 * 2, 1 << 30);
}

#[test]
fn the_weights_of_three_tokens_stand_unchanged_inside_those_of_four() -> Result<()> {
    let (three, four) = (masks::weights_of_first(3)?, masks::weights_of_first(4)?);
    for (row, weights) in three.iter().enumerate() {
        assert_close(&weights[..], &four[row][..3], 1e-6);
        assert_close(four[row][row + 1..].iter().sum::<f32>(), 0., 1e-6);
    }
    Ok(())
}
