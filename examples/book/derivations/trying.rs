//! Chapter 8.

use anyhow::Result;
use candle_core::{DType, Tensor};
use ppo::KlEstimator::{K1, K2, K3};
use ppo::policy_gradient::{
    expected_reward_gradient, gradient, log_prob_gradients, policy_gradient, relative_error,
};
use ppo::rewards::token_rewards;
use ppo::tabular_mdp::{
    COMPLETION_LEN, N_COMPLETIONS, completion_probs, exact_token_values,
    expectation_over_completions, log_probs, random_policy,
};
use ppo::{Clip, GaeConfig, clipped_surrogate, gae};
use tensor_core::backward;
use tensor_core::testing::assert_close;

use super::{distribution, kl, normal, number, tensor};
use crate::gae_weights::{bias_and_variance, weights};
use crate::kl_estimators;
use crate::policy_gradient::{PROBS, REWARDS, estimates, mean_reward, moments};

#[test]
fn a_baseline_leaves_the_mean_of_three_answers_alone_and_shrinks_the_variance() {
    let (mean, variance) = moments(&estimates(0.));
    let (with_baseline, smaller) = moments(&estimates(mean_reward()));
    assert_close(with_baseline, mean, 1e-12);
    assert_close([variance, smaller, variance / smaller], [10.16, 0.247, 41.], 5e-3);
    assert_close(mean_reward(), 3.7, 1e-12);
    // The parabola's lowest point.
    let squared = |a: usize| -> f64 {
        (0..3).map(|v| (f64::from(u8::from(v == a)) - PROBS[v]).powi(2)).sum()
    };
    let of = |f: &dyn Fn(usize) -> f64| (0..3).map(|a| PROBS[a] * f(a)).sum::<f64>();
    let best = of(&|a| REWARDS[a] * squared(a)) / of(&squared);
    assert_close([best, moments(&estimates(best)).1], [4.01, 0.188], 1e-3);
    for other in [best - 0.1, best + 0.1, 0., 3.7] {
        assert!(moments(&estimates(other)).1 > moments(&estimates(best)).1);
    }
    // The first answer: its direction, times 3 and times −0.7.
    assert_close(estimates(0.)[0], [0.5 * 3., -0.3 * 3., -0.2 * 3.], 1e-12);
    assert_close(estimates(3.7)[0], [-0.35, 0.21, 0.14], 1e-12);
}

#[test]
fn both_sides_of_the_theorem_agree_and_the_mean_of_the_score_is_0() -> Result<()> {
    for seed in 1..4 {
        let (policy, rewards) = (random_policy(seed)?, tensor(&normal(N_COMPLETIONS, seed))?);
        let left = expected_reward_gradient(&policy, &rewards)?;
        assert_close(policy_gradient(&policy, &rewards.unsqueeze(1)?)?, left, 1e-12);
        let ones = Tensor::ones((N_COMPLETIONS, 1), DType::F64, policy.device())?;
        assert_close(policy_gradient(&policy, &ones)?, policy.zeros_like()?, 1e-12);
    }
    Ok(())
}

#[test]
fn rewards_before_a_token_may_be_left_out_of_its_weight() -> Result<()> {
    let policy = random_policy(1)?;
    // A reward for the first token that depends on it, and one for the completion.
    let first: Vec<f64> = (0..N_COMPLETIONS).map(|y| [1., -2., 0.5, 3., 0.][y / 25]).collect();
    let (first, last) = (tensor(&first)?, tensor(&normal(N_COMPLETIONS, 3))?);
    let all = (&first + &last)?;
    let all_weights = Tensor::stack(&[&all, &all, &all], 1)?; // (Y, T)
    let future_weights = Tensor::stack(&[&all, &last, &last], 1)?;
    let future = policy_gradient(&policy, &future_weights)?;
    assert_close(policy_gradient(&policy, &all_weights)?, future, 1e-12);
    Ok(())
}

/// Advantages after n steps, from TD errors and from rewards and values, of the first token.
#[test]
fn n_step_returns_telescope_and_gae_is_their_mean() -> Result<()> {
    let (n, gamma, lambda) = (30, 0.97, 0.8);
    let (rewards, mut values) = (normal(n, 1), normal(n + 1, 2));
    values[n] = 0.; // the completion has ended
    let delta: Vec<f64> = (0..n).map(|t| rewards[t] + gamma * values[t + 1] - values[t]).collect();
    let power = |k: usize| f64::powi(gamma, k as i32);
    let n_step = |steps: usize| {
        let steps = steps.min(n);
        let of_rewards: f64 = (0..steps).map(|k| power(k) * rewards[k]).sum();
        of_rewards + power(steps) * values[steps] - values[0]
    };
    for steps in 1..=n {
        let telescope: f64 = (0..steps).map(|k| power(k) * delta[k]).sum();
        assert_close(n_step(steps), telescope, 1e-12);
    }
    let mean: f64 = (1..400).map(|steps| f64::powi(lambda, steps as i32 - 1) * n_step(steps)).sum();
    let row = |x: &[f64]| -> Result<Tensor> { Ok(tensor(x)?.unsqueeze(0)?) };
    let config = GaeConfig { gamma, lambda };
    let mask = row(&vec![1.; n])?;
    let found = gae(&row(&rewards)?, &row(&values[..n])?, &tensor(&[0.])?, &mask, config)?;
    assert_close(found.advantages.get(0)?.get(0)?.to_scalar::<f64>()?, (1. - lambda) * mean, 1e-9);
    let powers: Vec<f64> = (0..5).map(|k| f64::powi(0.95, k)).collect();
    assert_close(weights(0.95, 5)?, powers, 1e-12);
    Ok(())
}

#[test]
fn gae_of_the_text() -> Result<()> {
    let row = |x: &[f64]| -> Result<Tensor> { Ok(tensor(x)?.unsqueeze(0)?) };
    let mask = row(&[1., 1.])?;
    let rewards = token_rewards(&tensor(&[10.])?, &row(&[0.1, 0.2])?, 1., &mask)?;
    assert_close(&rewards, row(&[-0.1, 9.8])?, 1e-12);
    let config = GaeConfig { gamma: 0.9, lambda: 0.9 };
    let found = gae(&rewards, &row(&[1., 2.])?, &tensor(&[0.])?, &mask, config)?;
    assert_close(found.advantages, row(&[7.018, 7.8])?, 1e-12);
    assert_close(found.returns, row(&[8.018, 9.8])?, 1e-12);
    Ok(())
}

#[test]
fn lambda_1_has_no_bias_and_a_smaller_one_less_noise() -> Result<()> {
    let (bias, variance) = bias_and_variance(1.)?;
    let (biased, smaller) = bias_and_variance(0.)?;
    assert!(bias < 1e-12 && biased > 0.3 && smaller < 0.5 * variance);
    Ok(())
}

#[test]
fn the_gain_of_a_policy_is_the_mean_of_the_old_advantages_on_its_own_completions() -> Result<()> {
    let (old, new) = (random_policy(1)?, random_policy(2)?);
    let rewards = tensor(&normal(N_COMPLETIONS, 3))?;
    let mean = |policy: &Tensor, x: &Tensor| number(&expectation_over_completions(policy, x)?);
    let values = exact_token_values(&old, &rewards)?; // (Y, T)
    let after =
        Tensor::cat(&[&values.narrow(1, 1, COMPLETION_LEN - 1)?, &rewards.unsqueeze(1)?], 1)?;
    let advantages = (after - &values)?; // of each token: the value after it less that before it
    let sum = advantages.sum(1)?;
    assert_close(mean(&new, &sum)?, mean(&new, &rewards)? - mean(&old, &rewards)?, 1e-12);
    // Importance sampling: a mean over the new policy from the old one's completions.
    let ratio = (log_probs(&new)?.sum(1)? - log_probs(&old)?.sum(1)?)?.exp()?;
    assert_close(mean(&old, &(&ratio * &rewards)?)?, mean(&new, &rewards)?, 1e-12);
    // At the old policy the surrogate has the policy gradient.
    let (old_log_probs, probs) = (log_probs(&old)?, completion_probs(&old)?.unsqueeze(1)?);
    let surrogate = gradient(&old, |policy| {
        let ratio = (log_probs(policy)? - &old_log_probs)?.exp()?;
        (ratio * &advantages)?.broadcast_mul(&probs)?.sum_all()
    })?;
    assert_close(surrogate, expected_reward_gradient(&old, &rewards)?, 1e-12);
    Ok(())
}

#[test]
fn the_kl_has_no_linear_term_and_its_bowl_is_the_fisher_matrix() -> Result<()> {
    let old = random_policy(1)?;
    let direction = tensor(&normal(old.elem_count(), 4))?.reshape(old.shape())?;
    let kl_at = |step: f64| -> Result<f64> {
        let new = (&old + (&direction * step)?)?;
        let log_ratio = (log_probs(&old)?.sum(1)? - log_probs(&new)?.sum(1)?)?;
        number(&expectation_over_completions(&old, &log_ratio)?)
    };
    // xᵀ F x = E[(x · ∇log π)²]
    let scores = log_prob_gradients(&old)?.sum(1)?; // (Y, N_STATES, VOCAB_SIZE)
    let along = scores.broadcast_mul(&direction)?.sum((1, 2))?; // (Y)
    let fisher = number(&expectation_over_completions(&old, &along.sqr()?)?)?;
    let step = 1e-3;
    assert_close(kl_at(step)? / (step * step), fisher / 2., 1e-2);
    Ok(())
}

#[test]
fn a_token_beyond_the_fence_has_no_gradient() -> Result<()> {
    let ratios = tensor(&[1.5, 1.5, 0.5, 0.5, 1.])?;
    let x = candle_core::Var::from_tensor(&ratios.log()?)?;
    let advantages = tensor(&[2., -2., 2., -2., 3.])?;
    let old = ratios.zeros_like()?;
    let loss = clipped_surrogate(x.as_tensor(), &old, &advantages, Clip::symmetric(0.2))?;
    let gradients = backward(&loss.sum_all()?)?;
    let found = gradients.get(x.as_tensor()).expect("one").to_vec1::<f64>()?;
    assert_close(found, [0., 3., -1., 0., -3.], 1e-12);
    Ok(())
}

/// Mean reward less β KL of the distribution `p`.
fn penalized(p: &[f64], rewards: &[f64], reference: &[f64], beta: f64) -> f64 {
    p.iter().zip(rewards).map(|(p, r)| p * r).sum::<f64>() - beta * kl(p, reference)
}

/// π* and β log Z.
fn optimum(rewards: &[f64], reference: &[f64], beta: f64) -> (Vec<f64>, f64) {
    let weights: Vec<f64> =
        reference.iter().zip(rewards).map(|(p, r)| p * (r / beta).exp()).collect();
    let z: f64 = weights.iter().sum();
    (weights.iter().map(|w| w / z).collect(), beta * z.ln())
}

#[test]
fn no_policy_beats_the_reference_times_exp_of_the_reward_over_beta() {
    for seed in 0..20 {
        let (rewards, reference) = (normal(6, seed), distribution(6, seed + 50));
        let (best, log_z) = optimum(&rewards, &reference, 0.7);
        assert_close(penalized(&best, &rewards, &reference, 0.7), log_z, 1e-12);
        for other in 0..20 {
            let other = distribution(6, 100 * seed + other + 1000);
            let value = penalized(&other, &rewards, &reference, 0.7);
            assert_close(value, log_z - 0.7 * kl(&other, &best), 1e-12);
        }
    }
    let (best, log_z) = optimum(&REWARDS, &PROBS, 1.);
    assert_close(&best, [0.179, 0.292, 0.529], 5e-4);
    assert_close(kl(&best, &PROBS), 0.323, 5e-4);
    let mean: f64 = best.iter().zip(REWARDS).map(|(p, r)| p * r).sum();
    assert_close([mean, log_z, log_z.exp()], [4.350, 4.027, 56.105], 5e-4);
    let weights: Vec<f64> = PROBS.iter().zip(REWARDS).map(|(p, r)| p * r.exp()).collect();
    assert_close(weights, [10.04, 16.38, 29.68], 5e-4);
    let third = |beta| optimum(&REWARDS, &PROBS, beta).0[2];
    assert_close([third(0.3), third(10.)], [0.946, 0.227], 5e-4);
}

#[test]
fn k1_belongs_into_a_reward_and_k2_into_a_loss() -> Result<()> {
    let measure = |estimator, is_close| {
        kl_estimators::measure(estimator, &kl_estimators::reference(is_close)?)
    };
    let (k1, k2, k3) = (measure(K1, false)?, measure(K2, false)?, measure(K3, false)?);
    assert!(k3.deviation > k1.deviation, "far apart");
    assert!(measure(K3, true)?.deviation < 0.2 * measure(K1, true)?.deviation, "close");
    assert_close(k1.mean, k3.mean, 1e-12);
    assert!(k2.mean > 1.5 * k1.mean);
    assert!(k1.reward_error < 1e-9 && k2.loss_error < 1e-9);
    assert_close(k1.loss_error, 1., 1e-9); // its gradient is 0
    // The gradient of k3 is that of the other divergence.
    let (policy, reference) = (random_policy(1)?, random_policy(2)?);
    let sums = |policy: &Tensor| log_probs(policy)?.sum(1);
    let (probs, log_q) = (completion_probs(&policy)?, sums(&reference)?);
    let as_loss = gradient(&policy, |p| (K3.estimate(&sums(p)?, &log_q)? * &probs)?.sum_all())?;
    let other =
        gradient(&policy, |p| expectation_over_completions(&reference, &(&log_q - sums(p)?)?))?;
    assert!(relative_error(&as_loss, &other)? < 1e-9);
    Ok(())
}
