//! Bias and variance of the estimators of policy gradients and of the KL, computed exactly on 5
//! tokens and completions of 3:
//!
//! ```sh
//! cargo run --example estimator_lab
//! ```
//!
//! Every expectation is a sum over all 125 completions, so the results have no sampling noise.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use ppo::KlEstimator::{AbsK1, K1, K2, K3};
use ppo::gradient_variance::{GradientMoments, moments_of_one_sample, reinforce_moments};
use ppo::policy_gradient::{expected_reward_gradient, gradient, policy_gradient, relative_error};
use ppo::rewards::token_rewards;
use ppo::tabular_mdp::{
    COMPLETION_LEN, N_COMPLETIONS, completion_probs, exact_token_values,
    expectation_over_completions, log_probs, random_policy, variance_over_completions,
};
use ppo::{GaeConfig, RewardBaseline, gae};
use tensor_core::Rng;

fn main() -> Result<()> {
    let (policy, reference) = (random_policy(1)?, random_policy(2)?);
    let rewards = (Rng::new(9).normal_tensor(N_COMPLETIONS, 1., DType::F64, &Device::Cpu)? + 3.)?;
    println!("1. Policy gradient: bias and variance of the gradient from G completions\n");
    print_baselines(&policy, &rewards)?;
    println!("\n2. Policy gradient with a critic: bias and variance from one completion\n");
    print_critics(&policy, &rewards)?;
    println!("\n3. Estimators of KL(policy || reference) over a whole completion\n");
    print_kl_estimators(&policy, &reference)
}

/// Bias and variance of REINFORCE for each baseline and group size.
fn print_baselines(policy: &Tensor, rewards: &Tensor) -> Result<()> {
    let truth = expected_reward_gradient(policy, rewards)?;
    let mean: f64 = expectation_over_completions(policy, rewards)?.to_scalar()?;
    println!("{:22} {:>4}  {:>8}  {:>10}", "baseline", "G", "bias", "variance");
    for g in [2, 16] {
        for (name, baseline) in [
            ("none", RewardBaseline::None),
            ("mean reward", RewardBaseline::Constant(mean)),
            ("group mean", RewardBaseline::GroupMean),
            ("leave-one-out", RewardBaseline::LeaveOneOut),
        ] {
            print_row(name, g as f64, reinforce_moments(policy, rewards, baseline, g)?, &truth)?;
        }
        let values = exact_token_values(policy, rewards)?;
        let sample = moments_of_one_sample(policy, &rewards.unsqueeze(1)?.broadcast_sub(&values)?)?;
        print_row("true values", g as f64, sample.of_mean(g), &truth)?;
    }
    println!(
        "Without a baseline, the mean reward ({mean:.2}) is most of the variance. The group mean \
         contains the completion's own reward, which shrinks the gradient by 1/G."
    );
    Ok(())
}

/// Bias and variance of the policy gradient for each critic and λ.
fn print_critics(policy: &Tensor, rewards: &Tensor) -> Result<()> {
    let truth = expected_reward_gradient(policy, rewards)?;
    let zero = Tensor::zeros((N_COMPLETIONS, COMPLETION_LEN), DType::F64, &Device::Cpu)?;
    let (bootstrap, mask) = (rewards.zeros_like()?, zero.ones_like()?);
    let token_rewards = token_rewards(rewards, &zero, 0., &mask)?; // 0, 0, reward
    let exact = exact_token_values(policy, rewards)?;
    let half = (&exact * 0.5)?;
    println!("{:22} {:>4}  {:>8}  {:>10}", "critic", "λ", "bias", "variance");
    for (name, values) in [("0", &zero), ("half the true values", &half), ("true values", &exact)] {
        for lambda in [1., 0.95, 0.] {
            let config = GaeConfig { gamma: 1., lambda };
            let advantages = gae(&token_rewards, values, &bootstrap, &mask, config)?.advantages;
            print_row(name, lambda, moments_of_one_sample(policy, &advantages)?, &truth)?;
        }
    }
    println!(
        "λ < 1 lowers the variance. With a wrong critic it also biases the gradient; with the true \
         values it does not."
    );
    Ok(())
}

/// Row of a table: the bias of a gradient estimate relative to the `truth`, and its variance.
fn print_row(name: &str, setting: f64, estimate: GradientMoments, truth: &Tensor) -> Result<()> {
    let bias = 100. * relative_error(&estimate.mean, truth)?;
    println!("{name:22} {setting:>4}  {bias:>7.2}%  {:>10.4}", estimate.variance);
    Ok(())
}

/// Mean, bias and standard deviation of each KL estimator, and its gradient as a reward and a loss.
fn print_kl_estimators(policy: &Tensor, reference: &Tensor) -> Result<()> {
    let sequence_log_probs = |logits: &Tensor| log_probs(logits)?.sum(1); // (ALL)
    let (log_p, log_q) = (sequence_log_probs(policy)?, sequence_log_probs(reference)?);
    let kl: f64 = expectation_over_completions(policy, &(&log_p - &log_q)?)?.to_scalar()?;
    let truth =
        gradient(policy, |p| expectation_over_completions(p, &(sequence_log_probs(p)? - &log_q)?))?;
    println!("exact KL: {kl:.4} nats. The gradients are compared with that of the exact KL\n");
    println!("         mean     bias  deviation   error as reward  error as loss");
    for (name, estimator) in [("k1", K1), ("|k1|", AbsK1), ("k2", K2), ("k3", K3)] {
        let estimates = estimator.estimate(&log_p, &log_q)?; // (ALL)
        let mean: f64 = expectation_over_completions(policy, &estimates)?.to_scalar()?;
        let bias = mean - kl;
        let deviation = variance_over_completions(policy, &estimates)?.to_scalar::<f64>()?.sqrt();
        let as_reward = policy_gradient(policy, &estimates.unsqueeze(1)?)?;
        let reward_error = 100. * relative_error(&as_reward, &truth)?;
        let probs = completion_probs(policy)?; // of the samples: not differentiated
        let as_loss = gradient(policy, |p| {
            (estimator.estimate(&sequence_log_probs(p)?, &log_q)? * &probs)?.sum_all()
        })?;
        let loss_error = 100. * relative_error(&as_loss, &truth)?;
        println!(
            "{name:4} {mean:>8.4} {bias:>8.4} {deviation:>10.4} {reward_error:>16.0}% \
             {loss_error:>13.0}%"
        );
    }
    println!(
        "As a reward, k1 has the right gradient. As a loss, k1 has gradient 0, k2 the right one, \
         and k3 that of KL(reference || policy)."
    );
    Ok(())
}
