//! Chapter 0.

use anyhow::Result;
use tensor_core::testing::assert_close;

use super::{distribution, kl, normal, softmax};
use crate::autodiff::{Tape, surprise};

#[test]
fn numbers_of_the_text() {
    assert_close([-0.9f64.ln(), -0.09f64.ln(), 256f64.ln()], [0.105, 2.408, 5.545], 5e-4);
    assert_close([10f64.ln(), 1. / 2f64.ln(), 0.5f64.ln().abs()], [2.303, 1.443, 0.693], 5e-4);
    assert_close([1.1f64.exp(), 10f64.exp()], [3.0, 22_026.], 2e-3);
    assert_close(softmax(&[1., 2., 0.]), [0.245, 0.665, 0.090], 5e-4);
    let (loss, gradient) = surprise([1., 2., 0.], 0);
    assert_close(loss, 1.4076, 5e-5);
    assert_close(gradient, [-0.755, 0.665, 0.090], 5e-4);
}

#[test]
fn cross_entropy_is_entropy_plus_kl_and_the_kl_is_never_negative() {
    for seed in 0..20 {
        let (p, q) = (distribution(7, seed), distribution(7, seed + 100));
        let mean = |f: &dyn Fn(usize) -> f64| (0..7).map(|i| q[i] * f(i)).sum::<f64>();
        let cross_entropy = mean(&|i| -p[i].ln());
        assert_close(cross_entropy, mean(&|i| -q[i].ln()) + kl(&q, &p), 1e-12);
        assert!(kl(&q, &p) > 0.);
        assert_close(kl(&q, &q), 0., 1e-15);
    }
}

#[test]
fn the_gradient_of_surprise_is_softmax_minus_onehot() {
    for seed in 0..20 {
        let logits: [f64; 3] = normal(3, seed).try_into().expect("three");
        let mut expected = softmax(&logits);
        expected[seed as usize % 3] -= 1.;
        assert_close(surprise(logits, seed as usize % 3).1, expected, 1e-12);
    }
}

#[test]
fn a_tape_read_backwards_gives_the_derivatives_of_any_expression() -> Result<()> {
    let tape = Tape::default();
    let (a, b) = (tape.scalar(2.), tape.scalar(3.));
    let gradients = (a * b + a * a).backward();
    assert_close([gradients.of(a), gradients.of(b)], [7., 2.], 0.);
    let f = |x: f64, y: f64| {
        let tape = Tape::default();
        let (x, y) = (tape.scalar(x), tape.scalar(y));
        let z = (x * y - y.exp()) / (x * x + tape.scalar(1.)) + (x.exp() + y).ln();
        let gradients = z.backward();
        (z.value, [gradients.of(x), gradients.of(y)])
    };
    let step = 1e-6;
    for pair in normal(20, 1).chunks_exact(2) {
        let (x, y) = (pair[0], pair[1].abs());
        let numeric = [
            (f(x + step, y).0 - f(x - step, y).0) / (2. * step),
            (f(x, y + step).0 - f(x, y - step).0) / (2. * step),
        ];
        assert_close(f(x, y).1, numeric, 1e-7);
    }
    Ok(())
}
