//! Chapter 6.

use anyhow::Result;
use candle_core::{Tensor, Var};
use tensor_core::backward;
use tensor_core::testing::assert_close;

use super::{normal, tensor};
use crate::masks;

#[test]
fn a_lora_of_rank_16_has_a_twentieth_of_the_numbers() {
    assert_eq!((2 * 16 * 768, 768 * 768), (24_576, 589_824));
    assert_close(24_576. / 589_824., 0.042, 5e-4);
}

#[test]
fn the_gradients_of_a_lora_are_those_of_the_text() -> Result<()> {
    let (n_in, n_out, rank, scale) = (5, 4, 2, 0.5);
    let matrix = |rows: usize, columns: usize, seed: u64| -> Result<Tensor> {
        Ok(tensor(&normal(rows * columns, seed))?.reshape((rows, columns))?)
    };
    let (w, x, g) = (matrix(n_out, n_in, 1)?, matrix(n_in, 1, 2)?, matrix(n_out, 1, 3)?);
    for b in [matrix(n_out, rank, 4)?, matrix(n_out, rank, 4)?.zeros_like()?] {
        let (a, b) = (Var::from_tensor(&matrix(rank, n_in, 5)?)?, Var::from_tensor(&b)?);
        let adapted = sft::lora::lora_weight(&w, a.as_tensor(), b.as_tensor(), scale)?;
        // L = G · y, so that ∂L/∂y = G.
        let gradients = backward(&(adapted.matmul(&x)? * &g)?.sum_all()?)?;
        let of = |var: &Var| gradients.get(var.as_tensor()).expect("a gradient").clone();
        let inner = a.as_detached_tensor().matmul(&x)?; // A x
        assert_close(of(&b), (g.matmul(&inner.t()?)? * scale)?, 1e-12);
        let expected = b.as_detached_tensor().t()?.matmul(&g)?.matmul(&x.t()?)?;
        assert_close(of(&a), (expected * scale)?, 1e-12);
    }
    Ok(())
}

#[test]
fn the_packed_row_of_the_figure_has_four_and_three_targets() -> Result<()> {
    let batch = masks::packed()?;
    assert_eq!(batch.segment_ids, [[1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]]);
    assert_eq!(batch.target_positions.to_vec1::<u32>()?, [3, 4, 5, 6, 9, 10, 11]);
    Ok(())
}

#[test]
fn a_token_weighs_by_the_answers_of_its_batch() {
    // 64 answers of 2 tokens, 64 of 17, or 32 of each.
    assert_eq!([64 * 2, 64 * 17, 32 * 2 + 32 * 17], [128, 1088, 608]);
    assert_close(1088. / 128., 17. / 2., 1e-12);
    let (long, short) = (0.6 / 17., 0.4 / 2.);
    assert_close([long, long / (long + short)], [0.035, 0.15], 5e-4);
    // −long log p − short log (1 − p) is lowest at this p.
    let loss = |p: f64| -long * p.ln() - short * f64::ln(1. - p);
    assert!(loss(0.15) < loss(0.14) && loss(0.15) < loss(0.16));
}
