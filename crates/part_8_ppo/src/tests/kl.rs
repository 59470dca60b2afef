//! 8.4: KL estimators and the KL coefficient.

use anyhow::Result;
use tensor_core::testing::assert_close;

use super::{number, rows};
use crate::kl::{KlController, KlEstimator};

const TOLERANCE: f64 = 1e-6;

#[test]
fn kl_estimators_have_their_worked_values() -> Result<()> {
    // log π − log π_ref = −0.1 and 0.5
    let (log_probs, reference) = (rows([[-1.1, -0.5]])?, rows([[-1., -1.]])?);
    for (estimator, expected) in [
        (KlEstimator::K1, [-0.1, 0.5]),
        (KlEstimator::AbsK1, [0.1, 0.5]),
        (KlEstimator::K2, [0.005, 0.125]),
        (KlEstimator::K3, [0.1f64.exp() - 1. - 0.1, (-0.5f64).exp() - 0.5]),
    ] {
        assert_close(&estimator.estimate(&log_probs, &reference)?, &rows([expected])?, TOLERANCE);
    }
    let far = KlEstimator::K3.estimate(&rows([[-500.]])?, &rows([[0.]])?)?;
    assert!(number(&far.squeeze(0)?.squeeze(0)?).is_finite());
    Ok(())
}

#[test]
fn the_kl_coefficient_follows_its_target() {
    let control = KlController::Adaptive { init_kl_coef: 0.2, target: 6., horizon: 10_000. };
    // The error is bounded.
    assert_close(control.next_kl_coef(0.2, 12., 256), 0.2 * (1. + 0.2 * 256. / 10_000.), TOLERANCE);
    assert_close(control.next_kl_coef(0.2, 6.6, 256), 0.2 * (1. + 0.1 * 256. / 10_000.), TOLERANCE);
    assert_close(control.next_kl_coef(0.2, 0., 256), 0.2 * (1. - 0.2 * 256. / 10_000.), TOLERANCE);
    assert_close(KlController::Fixed(0.1).next_kl_coef(0.1, 50., 256), 0.1, TOLERANCE);
    // More completions than the horizon change it no further: a negative one would reward KL.
    let soon = KlController::Adaptive { init_kl_coef: 0.2, target: 6., horizon: 20. };
    assert_close(soon.next_kl_coef(0.2, 0., 512), 0.2 * 0.8, TOLERANCE);
}
