//! 8.4: worked examples of rewards, advantages and losses; most are from a PPO tutorial and its
//! notebook.

use anyhow::Result;
use candle_core::Tensor;
use tensor_core::testing::{assert_close, assert_grad};

use super::{CPU, number, rows};
use crate::gae::{GaeConfig, gae};
use crate::kl::KlEstimator;
use crate::losses::{
    Clip, LossWeights, clip_fraction, clipped_surrogate, total_loss, value_clip_fraction,
    value_loss,
};
use crate::masked::{ShiftMean, masked_mean, masked_whiten};
use crate::rewards::{clip_reward, token_rewards};

const TOLERANCE: f64 = 1e-6;

#[test]
fn a_masked_mean_ignores_padding() -> Result<()> {
    let x = rows([[1., 2.], [3., 4.]])?;
    assert_close(number(&masked_mean(&x, &x.ones_like()?)?), 2.5, TOLERANCE);
    let mask = rows([[1., 0.], [1., 1.]])?;
    assert_close(number(&masked_mean(&x, &mask)?), 8. / 3., TOLERANCE);
    assert_eq!(number(&masked_mean(&x, &x.zeros_like()?)?), 0.);
    let hole = rows([[1., f64::NAN], [3., 4.]])?;
    assert_close(number(&masked_mean(&hole, &mask)?), 8. / 3., TOLERANCE);
    Ok(())
}

#[test]
fn whitened_numbers_have_variance_1_and_padding_stays_0() -> Result<()> {
    let x = rows([[1., 2., 3.], [4., 5., 6.]])?;
    let mask = rows([[1., 1., 0.], [1., 1., 1.]])?;
    let expected = |shift: f64| {
        let x = [1., 2., 4., 5., 6.].map(|x| (x - 3.6) / (3.44f64 + 1e-8).sqrt() + shift);
        rows([[x[0], x[1], 0.], [x[2], x[3], x[4]]])
    };
    assert_close(&masked_whiten(&x, &mask, ShiftMean::Yes)?, &expected(0.)?, TOLERANCE);
    assert_close(&masked_whiten(&x, &mask, ShiftMean::No)?, &expected(3.6)?, TOLERANCE);
    let nothing = masked_whiten(&x, &mask.zeros_like()?, ShiftMean::Yes)?;
    assert_close(&nothing, &x.zeros_like()?, 0.);
    Ok(())
}

#[test]
fn the_reward_is_at_the_last_token_and_the_kl_at_each() -> Result<()> {
    let mask = rows([[1., 1., 1.], [1., 0., 0.], [0., 0., 0.]])?;
    let kl = rows([[0.1, 0.2, 0.3], [0.4, 9., 9.], [9., 9., 9.]])?;
    let scores = Tensor::new(&[5f64, 7., 9.], &CPU)?;
    let expected = rows([[-0.05, -0.1, 4.85], [6.8, 0., 0.], [0., 0., 0.]])?;
    assert_close(&token_rewards(&scores, &kl, 0.5, &mask)?, &expected, TOLERANCE);
    assert_eq!(clip_reward(3., Some(1.)), 1.);
    assert_eq!(clip_reward(-3., Some(1.)), -1.);
    assert_eq!(clip_reward(3., None), 3.);
    Ok(())
}

#[test]
fn advantages_equal_a_published_worked_example() -> Result<()> {
    let discount = GaeConfig { gamma: 0.9, lambda: 0.9 };
    let scores = Tensor::new(&[10f64], &CPU)?;
    let none = Tensor::zeros(1, candle_core::DType::F64, &CPU)?;
    let (kl, values) = (rows([[0.1, 0.2]])?, rows([[1., 2.]])?);
    let mask = rows([[1., 1.]])?;
    let rewards = token_rewards(&scores, &kl, 1., &mask)?;
    let found = gae(&rewards, &values, &none, &mask, discount)?;
    assert_close(&found.advantages, &rows([[7.018, 7.8]])?, TOLERANCE);
    assert_close(&found.returns, &rows([[8.018, 9.8]])?, TOLERANCE);
    let whitened = masked_whiten(&found.advantages, &mask, ShiftMean::Yes)?;
    assert_close(&whitened, &rows([[-1., 1.]])?, 1e-6);

    let mask = rows([[1., 0.]])?;
    let rewards = token_rewards(&scores, &kl, 1., &mask)?;
    let found = gae(&rewards, &values, &none, &mask, discount)?;
    assert_close(&found.advantages, &rows([[8.9, 0.]])?, TOLERANCE);
    assert_close(&found.returns, &rows([[9.9, 0.]])?, TOLERANCE);
    Ok(())
}

#[test]
fn padding_changes_no_advantage_and_truncation_bootstraps() -> Result<()> {
    let discount = GaeConfig { gamma: 0.95, lambda: 0.8 };
    let rewards = rows([[0.3, -0.2, 1.]])?;
    let values = rows([[0.5, 0.1, -0.4]])?;
    let (mask, bootstrap) = (rows([[1., 1., 1.]])?, Tensor::new(&[2f64], &CPU)?);
    let found = gae(&rewards, &values, &bootstrap, &mask, discount)?.advantages;
    // As a sum: A_t = Σ_k (γλ)^k δ_{t+k}.
    let v = [0.5, 0.1, -0.4, 2.];
    let delta: Vec<f64> = (0..3).map(|t| [0.3, -0.2, 1.][t] + 0.95 * v[t + 1] - v[t]).collect();
    let g = 0.95 * 0.8;
    let by_hand = [delta[0] + g * delta[1] + g * g * delta[2], delta[1] + g * delta[2], delta[2]];
    assert_close(&found, &rows([by_hand])?, TOLERANCE);
    // In a batch with a longer completion, with arbitrary padding.
    let more = rows([[77., -55.]])?;
    let garbage = |x: &Tensor| Tensor::cat(&[x, &more], 1);
    let mask = rows([[1., 1., 1., 0., 0.]])?;
    let padded = gae(&garbage(&rewards)?, &garbage(&values)?, &bootstrap, &mask, discount)?;
    assert_close(&padded.advantages.narrow(1, 0, 3)?, &found, TOLERANCE);
    assert_close(&padded.returns.narrow(1, 3, 2)?, &rows([[0., 0.]])?, 0.);
    // λ = 1: future rewards plus the bootstrap value, minus the value.
    let all =
        gae(&rewards, &values, &bootstrap, &rows([[1.; 3]])?, GaeConfig { gamma: 1., lambda: 1. })?;
    assert_close(&all.returns, &rows([[3.1, 2.8, 3.]])?, TOLERANCE);
    Ok(())
}

/// Unit case: ratio 1.2, ε 0.1, advantage 1, value 0, return 1.
#[test]
fn gae_with_gamma_and_lambda_1_sums_the_rewards() -> Result<()> {
    let (new, old) = (rows([[1.2f64.ln()]])?, rows([[0.]])?);
    let (ones, zeros) = (rows([[1.]])?, rows([[0.]])?);
    let policy = clipped_surrogate(&new, &old, &ones, Clip::symmetric(0.1))?;
    assert_close(number(&policy.squeeze(0)?.squeeze(0)?), -1.1, TOLERANCE);
    let value = value_loss(&zeros, &zeros, &ones, None)?;
    assert_close(number(&value.squeeze(0)?.squeeze(0)?), 0.5, TOLERANCE);
    let weights = LossWeights { value_coef: 0.5, entropy_coef: 0. };
    assert_close(number(&total_loss(&policy, &value, &zeros, &ones, weights)?), -0.85, TOLERANCE);
    let kl = KlEstimator::K1.estimate(&old, &new)?;
    assert_close(number(&masked_mean(&kl, &ones)?), -0.182_321_556_793_954_6, TOLERANCE);
    assert_close(clip_fraction(&new, &old, &ones, Clip::symmetric(0.1))?, 1., TOLERANCE);
    assert_close(clip_fraction(&new, &old, &ones, Clip::symmetric(0.3))?, 0., TOLERANCE);
    Ok(())
}

#[test]
fn a_clipped_token_has_no_gradient_unless_it_moved_away() -> Result<()> {
    // ratios 1.5 and 0.5, each with a good and a bad advantage; at ratio 1 the gradient is −A.
    let old = rows([[0., 0., 0., 0., 0.]])?;
    let advantages = rows([[2., -2., 2., -2., 3.]])?;
    let at = [1.5f64.ln(), 1.5f64.ln(), 0.5f64.ln(), 0.5f64.ln(), 0.];
    let x = candle_core::Var::from_tensor(&rows([at])?)?;
    let loss = clipped_surrogate(x.as_tensor(), &old, &advantages, Clip::symmetric(0.2))?;
    assert_close(loss.detach(), &rows([[-2.4, 3., -1., 1.6, -3.]])?, TOLERANCE);
    let grads = tensor_core::backward(&loss.sum_all()?)?;
    let grad = grads.get(x.as_tensor()).expect("one");
    assert_close(grad, &rows([[0., 3., -1., 0., -3.]])?, TOLERANCE);
    let higher = Clip { low: 0.2, high: 0.6 };
    let loss = clipped_surrogate(x.as_tensor(), &old, &advantages, higher)?;
    assert_close(&loss.detach().narrow(1, 0, 1)?, &rows([[-3.]])?, TOLERANCE);
    Ok(())
}

#[test]
fn values_are_clipped_around_those_of_the_rollout() -> Result<()> {
    let (old, returns) = (rows([[0., 0., 0., 1.]])?, rows([[1., 1., 1., 0.]])?);
    let values = rows([[0.1, 0.5, -0.5, 1.5]])?;
    let found = value_loss(&values, &old, &returns, Some(0.2))?;
    // 0.5 is clipped to 0.2, away from the return.
    let expected = rows([[0.405, 0.32, 1.125, 1.125]])?;
    assert_close(&found, &expected, TOLERANCE);
    let mask = found.ones_like()?;
    assert_close(value_clip_fraction(&values, &old, &returns, &mask, 0.2)?, 0.25, TOLERANCE);
    assert_close(value_clip_fraction(&values, &old, &returns, &mask, 10.)?, 0., TOLERANCE);
    Ok(())
}

#[test]
fn loss_gradients_match_finite_differences() -> Result<()> {
    let x = rows([[0.25, -0.05, 0.05], [-0.4, 0.6, 0.02]])?;
    let old = rows([[0.1, 0., 0.], [0.1, 0., 0.]])?;
    let advantages = rows([[1., -2., 0.5], [0.7, -0.3, 2.]])?;
    assert_grad(&x, |x| clipped_surrogate(x, &old, &advantages, Clip::symmetric(0.2)), 1e-6)?;
    assert_grad(&x, |x| value_loss(x, &old, &advantages, Some(0.2)), 1e-6)?;
    let mask = rows([[1., 1., 0.], [1., 0., 0.]])?;
    assert_grad(&x, |x| masked_mean(x, &mask), 1e-6)?;
    for estimator in [KlEstimator::K1, KlEstimator::AbsK1, KlEstimator::K2, KlEstimator::K3] {
        assert_grad(&x, |x| estimator.estimate(x, &old), 1e-6)?;
    }
    Ok(())
}

#[test]
fn the_total_loss_has_the_right_signs_and_ignores_padding() -> Result<()> {
    let (new, old) = (rows([[0.1, -0.3], [0.2, 0.]])?, rows([[0., 0.], [0., 0.]])?);
    let (mask, ones) = (rows([[1., 0.], [1., 1.]])?, rows([[1., 1.], [1., 1.]])?);
    let clip = Clip::symmetric(0.2);
    let policy = |advantages: &Tensor| -> Result<Tensor> {
        Ok(clipped_surrogate(&new, &old, advantages, clip)?)
    };
    assert!(
        number(&masked_mean(&policy(&ones)?, &ones)?) <= 0.,
        "a positive advantage gives a loss below 0"
    );
    assert!(number(&masked_mean(&policy(&ones.neg()?)?, &ones)?) >= 0.);
    let [all, some] = [&ones, &mask]
        .map(|mask| number(&masked_mean(&policy(&ones).expect("one"), mask).expect("one")));
    assert!((all - some).abs() > 1e-3, "the mask matters");
    let value = value_loss(&new, &old, &ones, Some(0.2))?;
    let [all, some] = [&ones, &mask].map(|mask| number(&masked_mean(&value, mask).expect("one")));
    assert!(some >= 0. && (all - some).abs() > 1e-3, "here too");
    // Entropy is largest for the uniform distribution, and finite with impossible tokens.
    let v = 4;
    let uniform = Tensor::zeros((1, v), candle_core::DType::F64, &CPU)?;
    let peaked = Tensor::new(&[[9f64, 0., 0., f64::NEG_INFINITY]], &CPU)?;
    let [uniform, peaked] = [uniform, peaked].map(|x| tensor_core::ops::entropy(&x).expect("one"));
    assert_close(number(&uniform.squeeze(0)?), (v as f64).ln(), TOLERANCE);
    assert!(number(&peaked.squeeze(0)?) < 0.01 && number(&peaked.squeeze(0)?) >= 0.);
    // Shapes that differ are an error, not a broadcast.
    assert!(clipped_surrogate(&new, &old, &rows([[1.], [1.]])?, clip).is_err());
    assert!(value_loss(&new, &old, &rows([[1.], [1.]])?, None).is_err());
    assert!(masked_mean(&new, &rows([[1.], [1.]])?).is_err());
    Ok(())
}
