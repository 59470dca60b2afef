//! 8.4: expectations and gradients of the estimators, by enumeration.

use anyhow::Result;
use candle_core::{DType, Tensor};
use tensor_core::Rng;
use tensor_core::testing::assert_close;

use super::{CPU, number};
use crate::gae::{GaeConfig, gae};
use crate::kl::KlEstimator;
use crate::losses::{Clip, clipped_surrogate};
use crate::policy_gradient::{expected_reward_gradient, gradient, policy_gradient};
use crate::rewards::token_rewards;
use crate::tabular_mdp::{
    COMPLETION_LEN, N_COMPLETIONS, completion_probs, exact_token_values,
    expectation_over_completions, log_probs, random_policy,
};

fn scores() -> Result<Tensor> {
    Ok(Rng::new(9).normal_tensor(N_COMPLETIONS, 1., DType::F64, &CPU)?)
}

fn advantages(values: &Tensor, rewards: &Tensor, lambda: f64) -> Result<Tensor> {
    let none = Tensor::zeros(N_COMPLETIONS, DType::F64, &CPU)?;
    let discount = GaeConfig { gamma: 1., lambda };
    Ok(gae(rewards, values, &none, &rewards.ones_like()?, discount)?.advantages)
}

#[test]
fn the_policy_gradient_is_the_gradient_of_the_mean_reward() -> Result<()> {
    let (at, scores) = (random_policy(1)?, scores()?);
    let truth = expected_reward_gradient(&at, &scores)?;
    let kl = Tensor::zeros((N_COMPLETIONS, COMPLETION_LEN), DType::F64, &CPU)?;
    let rewards = token_rewards(&scores, &kl, 0., &kl.ones_like()?)?;
    let random = Rng::new(2).normal_tensor((1, COMPLETION_LEN), 1., DType::F64, &CPU)?;
    // Depends on the position alone, so it is wrong everywhere.
    let wrong = random.broadcast_as((N_COMPLETIONS, COMPLETION_LEN))?.contiguous()?;
    let exact = exact_token_values(&at, &scores)?;
    // λ = 1 is unbiased for any values; with the true values every λ is.
    for (values, lambda) in [(&kl, 1.), (&wrong, 1.), (&exact, 1.), (&exact, 0.5), (&exact, 0.)] {
        let found = policy_gradient(&at, &advantages(values, &rewards, lambda)?)?;
        assert_close(&found, &truth, 1e-9);
    }
    // Only the last token gets credit.
    let biased = policy_gradient(&at, &advantages(&kl, &rewards, 0.)?)?;
    assert!(number(&(biased - &truth)?.abs()?.sum_all()?) > 0.1);
    // At ratio 1 the gradient of the surrogate loss is the negative policy gradient.
    let (old, weights) = (log_probs(&at)?, advantages(&exact, &rewards, 0.9)?);
    let probabilities = completion_probs(&at)?.unsqueeze(1)?;
    let found = gradient(&at, |at| {
        let loss = clipped_surrogate(&log_probs(at)?, &old, &weights, Clip::symmetric(0.2))?;
        loss.broadcast_mul(&probabilities)?.sum_all()
    })?;
    assert_close(&found.neg()?, &truth, 1e-9);
    Ok(())
}

#[test]
fn kl_estimators_are_unbiased_where_documented() -> Result<()> {
    let (at, reference) = (random_policy(1)?, random_policy(2)?);
    let [p, q] = [&at, &reference].map(|x| log_probs(x).and_then(|x| x.sum(1)).expect("sums"));
    let truth = number(&expectation_over_completions(&at, &(&p - &q)?)?);
    let mean = |estimator: KlEstimator| -> Result<f64> {
        Ok(number(&expectation_over_completions(&at, &estimator.estimate(&p, &q)?)?))
    };
    assert_close(mean(KlEstimator::K1)?, truth, 1e-12);
    assert_close(mean(KlEstimator::K3)?, truth, 1e-12);
    assert!((mean(KlEstimator::K2)? - truth).abs() > 0.05);
    assert!(mean(KlEstimator::AbsK1)? > truth + 0.05);
    // Per token: by the chain rule, the KL of a completion is the sum over its tokens.
    let (p, q) = (log_probs(&at)?, log_probs(&reference)?);
    let by_token = KlEstimator::K3.estimate(&p, &q)?.sum(1)?;
    assert_close(number(&expectation_over_completions(&at, &by_token)?), truth, 1e-12);
    Ok(())
}

#[test]
fn as_losses_k1_has_no_gradient_and_k2_that_of_the_kl() -> Result<()> {
    let (at, reference) = (random_policy(1)?, random_policy(2)?);
    let of = |x: &Tensor| log_probs(x)?.sum(1); // (N_COMPLETIONS)
    let q = of(&reference)?;
    let truth = gradient(&at, |at| expectation_over_completions(at, &(of(at)? - &q)?))?;
    let probabilities = completion_probs(&at)?; // sampling probabilities, without gradient
    let in_the_loss = |estimator: KlEstimator| {
        gradient(&at, |at| (estimator.estimate(&of(at)?, &q)? * &probabilities)?.sum_all())
    };
    let size = |x: &Tensor| -> Result<f64> { Ok(number(&x.sqr()?.sum_all()?.sqrt()?)) };
    assert!(size(&in_the_loss(KlEstimator::K1)?)? < 1e-12);
    assert_close(&in_the_loss(KlEstimator::K2)?, &truth, 1e-12);
    let k3 = in_the_loss(KlEstimator::K3)?;
    assert!(size(&(&k3 - &truth)?)? > 0.3 * size(&truth)?);
    // As a loss, k3 has the gradient of KL(π_ref ‖ π).
    let other = gradient(&at, |at| expectation_over_completions(&reference, &(&q - of(at)?)?))?;
    assert_close(&k3, &other, 1e-12);
    // In the reward k1 is right: the gradient of its mean is E[k1 ∇ log π].
    let d = (of(&at)? - &q)?.unsqueeze(1)?; // (N_COMPLETIONS, 1)
    assert_close(&policy_gradient(&at, &d)?, &truth, 1e-9);
    Ok(())
}
