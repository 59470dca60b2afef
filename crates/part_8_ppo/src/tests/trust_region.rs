//! The trust region: its Fisher matrix, its steps, and what PPO's clip and a KL penalty do instead.

mod language_model;

use anyhow::{Context, Result};
use candle_core::{DType, Tensor};
use tensor_core::Rng;
use tensor_core::testing::assert_close;

use super::{CPU, number};
use crate::kl::ratio;
use crate::losses::{Clip, clipped_surrogate};
use crate::policy_gradient::{gradient, log_prob_gradients, value_and_gradient};
use crate::tabular_mdp::{
    N_COMPLETIONS, N_STATES, VOCAB_SIZE, completion_probs, exact_token_values,
    expectation_over_completions, log_probs, random_policy,
};
use crate::trust_region::{TrustRegion, conjugate_gradients, fisher_vector_product};

const REGION: TrustRegion =
    TrustRegion { max_kl: 0.002, cg_iterations: 20, damping: 1e-6, max_backtracks: 10 };

fn rewards() -> Result<Tensor> {
    let mut rng = Rng::new(6);
    let rewards: Vec<f64> = (0..N_COMPLETIONS).map(|_| 4. * rng.uniform()).collect();
    Ok(Tensor::new(rewards, &CPU)?)
}

/// KL(π_old ‖ π) over completions.
fn kl(old: &Tensor, policy: &Tensor) -> candle_core::Result<Tensor> {
    let log_ratio = (log_probs(old)?.sum(1)? - log_probs(policy)?.sum(1)?)?;
    expectation_over_completions(old, &log_ratio)
}

/// Surrogate E_{π_old}[Σ_t ρ_t A_t] with exact advantages, as PPO's objective; with a clip, PPO's.
fn surrogate(
    old: &Tensor,
    policy: &Tensor,
    rewards: &Tensor,
    clip: Option<Clip>,
) -> candle_core::Result<Tensor> {
    let values = exact_token_values(old, rewards)?; // (Y, T), before each token
    let next = Tensor::cat(&[&values.narrow(1, 1, 2)?, &rewards.unsqueeze(1)?], 1)?;
    let advantages = (next - values)?; // (Y, T)
    let (log_probs, old_log_probs) = (log_probs(policy)?, log_probs(old)?);
    let per_token = match clip {
        None => (ratio(&log_probs, &old_log_probs)? * advantages)?,
        Some(clip) => clipped_surrogate(&log_probs, &old_log_probs, &advantages, clip)?.neg()?,
    };
    expectation_over_completions(old, &per_token.sum(1)?)
}

/// Fisher matrix Σ_y π(y) ∇log π(y) ∇log π(y)ᵀ: (S·V, S·V).
fn fisher_matrix(policy: &Tensor) -> Result<Tensor> {
    let scores = log_prob_gradients(policy)?.sum(1)?; // (Y, N_STATES, VOCAB_SIZE)
    let scores = scores.reshape((N_COMPLETIONS, N_STATES * VOCAB_SIZE))?;
    let weighted = scores.broadcast_mul(&completion_probs(policy)?.unsqueeze(1)?)?;
    Ok(scores.t()?.matmul(&weighted)?)
}

#[test]
fn the_product_with_the_fisher_matrix_is_that_of_the_exact_matrix() -> Result<()> {
    let policy = random_policy(1)?;
    let v = Rng::new(2).normal_tensor((N_STATES, VOCAB_SIZE), 1., DType::F64, &CPU)?;
    let product =
        fisher_vector_product(&policy, &|p| value_and_gradient(p, |p| kl(&policy, p)), &v)?;
    let flat = v.reshape((N_STATES * VOCAB_SIZE, 1))?;
    let exact = fisher_matrix(&policy)?.matmul(&flat)?.reshape((N_STATES, VOCAB_SIZE))?;
    assert_close(product, exact, 1e-6);
    Ok(())
}

#[test]
fn conjugate_gradients_solves_a_system_and_refuses_one_that_is_not_positive() -> Result<()> {
    let matrix = Tensor::new(&[[4f64, 1., 0.], [1., 3., -1.], [0., -1., 2.]], &CPU)?;
    let b = Tensor::new(&[[1f64], [2.], [-3.]], &CPU)?;
    let x = conjugate_gradients(|v| matrix.matmul(v), &b, 3)?;
    assert_close(matrix.matmul(&x)?, &b, 1e-12);
    assert!(conjugate_gradients(|v| v.neg(), &b, 3).is_err());
    Ok(())
}

#[test]
fn every_step_of_fifty_stays_within_the_region_and_raises_the_true_mean_reward() -> Result<()> {
    let (rewards, mut policy) = (rewards()?, random_policy(1)?);
    let mut reward = number(&expectation_over_completions(&policy, &rewards)?);
    let first = reward;
    for step in 1..=50 {
        let old = policy.clone();
        let next = REGION.step(
            &old,
            &|p| value_and_gradient(p, |p| surrogate(&old, p, &rewards, None)),
            &|p| value_and_gradient(p, |p| kl(&old, p)),
        )?;
        let next = next.with_context(|| format!("step {step} is not accepted"))?;
        assert!(next.kl <= REGION.max_kl * 1.1 && next.kl > 0., "step {step}: KL {}", next.kl);
        let after = number(&expectation_over_completions(&next.parameters, &rewards)?);
        assert!(after > reward, "step {step}: {reward} to {after}");
        (policy, reward) = (next.parameters, after);
    }
    assert!(reward > first + 0.8, "{first} to {reward}");
    Ok(())
}

/// Largest KL of a step, number of steps after which the mean reward is lower, and the last mean
/// reward of 50 outer steps, each of several gradient steps on an objective of the old policy.
fn ascend(
    rewards: &Tensor,
    objective: impl Fn(&Tensor, &Tensor) -> candle_core::Result<Tensor>,
    (inner_steps, lr): (usize, f64),
) -> Result<(f64, usize, f64)> {
    let (mut policy, mut max_kl, mut n_worse) = (random_policy(1)?, 0f64, 0);
    let mut reward = number(&expectation_over_completions(&policy, rewards)?);
    for _ in 0..50 {
        let old = policy.clone();
        for _ in 0..inner_steps {
            let gradient = gradient(&policy, |p| objective(&old, p))?;
            policy = (policy + (gradient * lr)?)?.detach();
        }
        max_kl = max_kl.max(number(&kl(&old, &policy)?));
        let after = number(&expectation_over_completions(&policy, rewards)?);
        n_worse += usize::from(after < reward);
        reward = after;
    }
    Ok((max_kl, n_worse, reward))
}

#[test]
fn the_clip_bounds_ratios_and_not_the_kl() -> Result<()> {
    let rewards = rewards()?;
    let clip = |old: &Tensor, p: &Tensor| surrogate(old, p, &rewards, Some(Clip::symmetric(0.2)));
    let penalty =
        |old: &Tensor, p: &Tensor| surrogate(old, p, &rewards, None)? - (kl(old, p)? * 10.)?;
    let (clip_kl, _, clip_reward) = ascend(&rewards, clip, (20, 1.))?;
    let (penalty_kl, _, penalty_reward) = ascend(&rewards, penalty, (20, 0.1))?;
    assert!(clip_kl > REGION.max_kl && clip_reward > 3., "{clip_kl} {clip_reward}");
    assert!(penalty_reward > 2.5, "{penalty_kl} {penalty_reward}");
    Ok(())
}
