//! DPO's loss and its optimum, by enumeration.

use anyhow::Result;
use candle_core::Tensor;
use ppo::policy_gradient::gradient;
use ppo::tabular_mdp::{N_COMPLETIONS, random_policy};
use tensor_core::Rng;
use tensor_core::testing::assert_close;

use super::CPU;
use crate::implicit_reward::{implicit_reward, optimal_log_probs};
use crate::tabular_dpo::{completion_log_probs, exact_loss, minimize_exact_loss};

const BETA: f64 = 0.5;
const STEPS: usize = 300;
const LR: f64 = 60.;

/// log π_ref of all completions, and their rewards.
fn reference_and_rewards() -> Result<[Tensor; 2]> {
    let ref_log_probs = completion_log_probs(&random_policy(1)?)?;
    let mut rng = Rng::new(2);
    let rewards: Vec<f64> = (0..N_COMPLETIONS).map(|_| rng.uniform()).collect();
    Ok([ref_log_probs, Tensor::new(rewards, &CPU)?])
}

#[test]
fn the_implicit_reward_of_the_optimal_policy_is_the_reward_up_to_a_constant() -> Result<()> {
    let [ref_log_probs, rewards] = reference_and_rewards()?;
    let optimal = optimal_log_probs(&ref_log_probs, &rewards, BETA)?;
    assert_close(optimal.exp()?.sum_all()?, Tensor::new(1f64, &CPU)?, 1e-12);
    let implicit = implicit_reward(&optimal, &ref_log_probs, BETA)?;
    let centered = |x: &Tensor| x.broadcast_sub(&x.mean_all()?);
    assert_close(centered(&implicit)?, centered(&rewards)?, 1e-12);
    Ok(())
}

#[test]
fn gradient_descent_on_dpos_loss_ends_at_the_optimum_of_the_kl_penalized_reward() -> Result<()> {
    let [ref_log_probs, rewards] = reference_and_rewards()?;
    let start = random_policy(1)?; // the reference itself
    let policy = minimize_exact_loss(&start, &ref_log_probs, &rewards, BETA, (STEPS, LR))?;
    let probs = completion_log_probs(&policy)?.exp()?;
    let optimum = optimal_log_probs(&ref_log_probs, &rewards, BETA)?.exp()?;
    let distance = |a: &Tensor| (a - &optimum)?.abs()?.sum_all()?.to_scalar::<f64>();
    let (before, after) = (distance(&ref_log_probs.exp()?)?, distance(&probs)?);
    assert!(before > 0.2 && after < 1e-3, "{before} {after}");

    let loss = |policy: &Tensor| exact_loss(policy, &ref_log_probs, &rewards, BETA);
    let gradient = gradient(&policy, loss)?.abs()?.max_all()?.to_scalar::<f64>()?;
    assert!(gradient < 1e-5, "{gradient}");
    // At the optimum the loss is the entropy of the labels: nothing is left to learn.
    let rewards = rewards.to_vec1::<f64>()?;
    let entropy = |margin: f64| {
        let p = 1. / (1. + (-margin).exp());
        -p * p.ln() - (1. - p) * (1. - p).ln()
    };
    let entropies = rewards.iter().flat_map(|a| rewards.iter().map(move |b| entropy(a - b)));
    // Both orders of a pair are in the sum, each with the probability of its label.
    let mean = entropies.sum::<f64>() / (2 * N_COMPLETIONS * N_COMPLETIONS) as f64;
    assert_close(loss(&policy)?.to_scalar::<f64>()?, mean, 1e-6);
    Ok(())
}
