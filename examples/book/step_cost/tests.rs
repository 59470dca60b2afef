//! Costs worked out by hand, and the exponents of the counted cost.

use anyhow::Result;
use candle_core::{DType, Device};
use modern::GptModern;
use tensor_core::Parameters;
use tensor_core::testing::assert_close;

use super::{Axis, Shape};

const SMALL: Shape =
    Shape { n_layer: 1, n_embd: 32, vocab_size: 10, n_rows: 2, row_len: 4, n_targets: 8 };

#[test]
fn flops_of_a_small_step_by_hand() {
    // 8 tokens; 4 C² + 3 C F = 4 · 1024 + 3 · 32 · 88 = 12,544 weights in the block.
    assert_close(SMALL.block_flops(), 6. * 8. * 12_544., 0.);
    assert_close(SMALL.head_flops(), 6. * 8. * 320., 0.);
    assert_close(SMALL.attention_flops(), 7. * 2. * 32. * (2. * 8.), 0.); // 8 pairs in a row
    assert_close(SMALL.flops(), 602_112. + 15_360. + 7_168., 0.);
}

#[test]
fn bytes_of_a_small_step_by_hand() {
    // A block keeps 10 C + 3 F + H + 2 = 320 + 264 + 1 + 2 = 587 numbers of each token.
    assert_close(SMALL.activation_bytes(), 4. * 8. * 587., 0.);
    assert_close(SMALL.logit_bytes(), 4. * 2. * 80., 0.);
    // 320 of the table, 12,544 of the block, three norms of 32: 12,960 weights. Their gradients
    // are more than the logits.
    assert_close(SMALL.bytes(), 16. * 12_960. + 4. * 8. * 587., 0.);
}

#[test]
fn counted_flops_are_those_that_the_log_uses_and_recomputed_scores() {
    for shape in [SMALL, Shape::BASE, Axis::Width.shape(256), Axis::Context.shape(512)] {
        let [n_layer, c, t] = [shape.n_layer, shape.n_embd, shape.row_len].map(|n| n as f64);
        let norms = 6. * c * (2. * n_layer + 1.); // weights of no matrix product
        let recomputed = n_layer * c * t; // a seventh product of attention
        let per_token = shape.config().training_flops_per_token() - norms + recomputed;
        assert_close(shape.flops() / (shape.n_tokens() * per_token), 1., 1e-12);
    }
}

#[test]
fn chunks_are_those_of_the_model() -> Result<()> {
    for vocab_size in [256, 16_384, 65_536, 100_000] {
        let shape = Shape { n_embd: 32, n_layer: 1, vocab_size, ..Shape::BASE };
        let mut parameters = Parameters::seeded(0, DType::F32, &Device::Cpu);
        let model = GptModern::new(&shape.config(), parameters.root())?;
        assert_eq!(shape.logits_chunk_len(), model.logits_chunk_len());
    }
    Ok(())
}

/// Exponent of `cost` at a size, from the sizes half and twice as large.
fn exponent(axis: Axis, size: usize, cost: fn(&Shape) -> f64) -> f64 {
    let at = |size| cost(&axis.shape(size));
    (at(2 * size) / at(size / 2)).ln() / 4f64.ln()
}

#[test]
fn exponents_of_the_flops_are_those_of_their_largest_part() {
    let flops = |axis, size| exponent(axis, size, Shape::flops);
    assert_close(flops(Axis::Batch, 8), 1., 1e-12);
    for (axis, size, expected) in [
        (Axis::Layers, 1 << 12, 1.),
        (Axis::Width, 1 << 18, 2.),
        (Axis::Context, 1 << 20, 2.),
        (Axis::Vocabulary, 1 << 22, 1.),
        (Axis::Group, 1 << 16, 2.), // masked pairs are computed, too
    ] {
        assert_close(flops(axis, size), expected, 0.01);
    }
    // At the base, each exponent is the mean of those of the parts, weighted by their shares.
    let base = Shape::BASE;
    let [blocks, attention, head] =
        [base.block_flops(), base.attention_flops(), base.head_flops()].map(|x| x / base.flops());
    assert_close(flops(Axis::Layers, 4), blocks + attention, 0.02);
    assert_close(flops(Axis::Width, 128), 2. * blocks + attention + head, 0.02);
    assert_close(flops(Axis::Context, 128), 1. + attention, 0.03);
    assert_close(flops(Axis::Vocabulary, 1024), head, 0.04);
    assert_close([blocks, head, attention], [0.79, 0.13, 0.08], 0.01);
}

#[test]
fn exponents_of_the_bytes_are_those_of_their_largest_part() {
    let bytes = |axis, size| exponent(axis, size, Shape::bytes);
    for (axis, size, expected) in [
        (Axis::Layers, 1 << 12, 1.),
        (Axis::Width, 1 << 18, 2.),
        (Axis::Context, 1 << 20, 1.), // no T² is kept
        (Axis::Batch, 1 << 20, 1.),
        (Axis::Vocabulary, 1 << 22, 1.),
        (Axis::Group, 1 << 16, 1.),
    ] {
        assert_close(bytes(axis, size), expected, 0.01);
    }
    // Between one chunk and many, logits stop to grow.
    let logits = |vocab_size| Axis::Vocabulary.shape(vocab_size).logit_bytes();
    assert_close(logits(4096) / logits(1024), 4., 0.);
    assert!(logits(65_536) < 2. * logits(16_384));
}
