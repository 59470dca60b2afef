//! The page on how cost grows.

use tensor_core::testing::assert_close;

use crate::step_cost::{Axis, COMPLETION_LEN, PROMPT_LEN, PROMPTS, Shape};

#[test]
fn operations_of_the_base() {
    let base = Shape::BASE;
    let parts = [base.block_flops(), base.attention_flops(), base.head_flops()];
    assert_close(parts.map(|flops| flops / 1e9), [4.86, 0.47, 0.81], 5e-3);
    assert_close(base.flops() / 1e9, 6.13, 1e-3);
    let [blocks, attention, head] = parts.map(|flops| flops / base.flops());
    assert_close([blocks, attention, head], [0.79, 0.08, 0.13], 5e-3);
    let of_layers_and_width = [blocks + attention, 2. * blocks + attention + head];
    assert_close(of_layers_and_width, [0.87, 1.79], 5e-3);
    // Context at which attention's scores cost as much as the weights of the blocks.
    let t = f64::from(6 * (4 * 128 * 128 + 3 * 128 * 344)) / f64::from(7 * 128);
    assert_close(t, 1323., 1e-3);
}

#[test]
fn operations_of_a_group_of_sixteen() {
    let group = Axis::Group.shape(16);
    assert_eq!((PROMPTS, group.row_len), (4, 576));
    let parts = [group.block_flops(), group.attention_flops(), group.head_flops()];
    let [blocks, attention, head] = parts.map(|flops| flops / group.flops());
    assert_close([blocks, attention, head], [0.63, 0.275, 0.09], 5e-3);
    let of_tokens = (16 * COMPLETION_LEN) as f64 / group.row_len as f64;
    assert_close(of_tokens, 0.89, 5e-3);
    assert_close((blocks + 2. * attention) * of_tokens + head, 1.14, 5e-3);
    let (p, m, t) = (PROMPT_LEN, COMPLETION_LEN, group.row_len);
    assert_eq!((t * t / 2, p * p / 2 + 16 * (m * p + m * m / 2)), (165_888, 43_008));
}

#[test]
fn memory_of_the_base() {
    let base = Shape::BASE;
    let n_weights = base.config().parameter_count();
    assert_close(n_weights, 922_752., 0.);
    let (activations, logits) = (base.activation_bytes(), base.logit_bytes());
    let all = base.bytes();
    let megabytes = [12. * n_weights, activations, logits, all].map(|bytes| bytes / 1e6);
    assert_close(megabytes, [11.1, 38.0, 8.4, 57.4], 5e-3);
    let table = 12. * (1024 * 128) as f64;
    let blocks = 12. * n_weights - table;
    let of_layers = (activations + blocks) / all;
    let of_width = (activations + table + 2. * blocks) / all;
    let (of_tokens, of_vocabulary) = ((activations + logits) / all, (logits + table) / all);
    let exponents = [of_layers, of_width, of_tokens, of_vocabulary];
    assert_close(exponents, [0.83, 1.02, 0.81, 0.17], 5e-3);
    assert_close(12. * n_weights / all, 0.19, 5e-3);
}

#[test]
fn the_peak_of_all_measured_shapes_is_at_the_start_of_the_backward_pass() {
    for axis in Axis::ALL {
        for shape in axis.sizes().iter().map(|&size| axis.shape(size)) {
            let start = shape.activation_bytes() + shape.logit_bytes();
            let weights = 12. * shape.config().parameter_count();
            assert_close(shape.bytes(), weights + start, 1e-12);
        }
    }
}
