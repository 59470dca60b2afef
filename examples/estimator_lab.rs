//! Bias and variance of PPO's estimators, computed exactly on 5 tokens and completions of 3:
//!
//! ```sh
//! cargo run --release --example estimator_lab
//! ```
//!
//! Every expectation is a sum over all 125 completions, so the results have no sampling noise; the
//! variance columns are the exact variances of the estimators.

use anyhow::Result;
use candle_core::{DType, Device, Tensor, Var};
use ppo::tabular_mdp::{
    COMPLETION_LEN, N_COMPLETIONS, completion_probs, exact_token_values,
    expectation_over_completions, log_probs, random_policy,
};
use ppo::{GaeConfig, KlEstimator, gae};
use tensor_core::{Rng, backward};

fn main() -> Result<()> {
    let (policy, reference) = (random_policy(1)?, random_policy(2)?);
    let rewards = Rng::new(9).normal_tensor(N_COMPLETIONS, 1., DType::F64, &Device::Cpu)?;
    println!("1. Policy gradient E[Σ A ∇log π], compared with the gradient of the mean reward\n");
    print_policy_gradients(&policy, &rewards)?;
    println!("\n2. Estimators of KL(policy || reference) over a whole completion\n");
    print_kl_estimators(&policy, &reference)
}

/// Bias of the policy gradient for each critic and λ, relative to the true gradient.
fn print_policy_gradients(policy: &Tensor, rewards: &Tensor) -> Result<()> {
    let true_gradient = gradient(policy, |policy| expectation_over_completions(policy, rewards))?;
    let zero = Tensor::zeros((N_COMPLETIONS, COMPLETION_LEN), DType::F64, &Device::Cpu)?;
    let before_last = zero.narrow(1, 0, COMPLETION_LEN - 1)?;
    let token_rewards = Tensor::cat(&[&before_last, &rewards.unsqueeze(1)?], 1)?; // 0, 0, reward
    let exact = exact_token_values(policy, rewards)?;
    let half = (&exact * 0.5)?;
    println!("{:32} {:>4}  {:>18}  {:>18}", "critic", "λ", "bias of gradient", "variance of A");
    for (name, values) in [("0", &zero), ("half the true values", &half), ("true values", &exact)] {
        for lambda in [1., 0.95, 0.] {
            let config = GaeConfig { gamma: 1., lambda };
            let bootstrap = Tensor::zeros(N_COMPLETIONS, DType::F64, &Device::Cpu)?;
            let mask = zero.ones_like()?;
            let a = gae(&token_rewards, values, &bootstrap, &mask, config)?.advantages;
            let weights = completion_probs(policy)?.unsqueeze(1)?.broadcast_mul(&a)?;
            let estimate = gradient(policy, |policy| (log_probs(policy)? * &weights)?.sum_all())?;
            let bias = norm(&(estimate - &true_gradient)?)? / norm(&true_gradient)?;
            let first = a.narrow(1, 0, 1)?.squeeze(1)?;
            println!(
                "{name:32} {lambda:>4}  {:>17.2}%  {:>18.4}",
                100. * bias,
                variance(policy, &first)?
            );
        }
    }
    println!(
        "λ < 1 lowers the variance of the first token's A. With a wrong critic it also biases the \
         gradient; with the true values it does not."
    );
    Ok(())
}

/// Mean, bias and standard deviation of each KL estimator, and its gradient as a reward and a loss.
fn print_kl_estimators(policy: &Tensor, reference: &Tensor) -> Result<()> {
    let sequence_log_probs = |logits: &Tensor| log_probs(logits)?.sum(1); // (ALL)
    let (log_p, log_q) = (sequence_log_probs(policy)?, sequence_log_probs(reference)?);
    let kl = scalar(&expectation_over_completions(policy, &(&log_p - &log_q)?)?)?;
    let true_gradient =
        gradient(policy, |p| expectation_over_completions(p, &(sequence_log_probs(p)? - &log_q)?))?;
    println!("exact KL: {kl:.4} nats, gradient norm {:.4}\n", norm(&true_gradient)?);
    println!(
        "{:8} {:>8} {:>8} {:>10}   {:>16} {:>14}",
        "", "mean", "bias", "deviation", "gradient, reward", "gradient, loss"
    );
    for (name, estimator) in [
        ("k1", KlEstimator::K1),
        ("|k1|", KlEstimator::AbsK1),
        ("k2", KlEstimator::K2),
        ("k3", KlEstimator::K3),
    ] {
        let estimates = estimator.estimate(&log_p, &log_q)?; // (ALL)
        let mean = scalar(&expectation_over_completions(policy, &estimates)?)?;
        let probs = completion_probs(policy)?; // of the samples: not differentiated
        let as_reward =
            gradient(policy, |p| ((sequence_log_probs(p)? * &estimates)? * &probs)?.sum_all())?;
        let as_loss = gradient(policy, |p| {
            (estimator.estimate(&sequence_log_probs(p)?, &log_q)? * &probs)?.sum_all()
        })?;
        let error = |gradient: &Tensor| -> Result<String> {
            let off = norm(&(gradient - &true_gradient)?)? / norm(&true_gradient)?;
            let is_zero = norm(gradient)? < 1e-9;
            Ok(if is_zero { "is 0".into() } else { format!("{:.0}% off", 100. * off) })
        };
        println!(
            "{name:8} {mean:>8.4} {:>8.4} {:>10.4}   {:>16} {:>14}",
            mean - kl,
            variance(policy, &estimates)?.sqrt(),
            error(&as_reward)?,
            error(&as_loss)?
        );
    }
    println!(
        "As a reward, k1 has the right gradient. As a loss, k1 has gradient 0, k2 the right one, \
         and k3 that of KL(reference || policy)."
    );
    Ok(())
}

fn gradient(x: &Tensor, f: impl Fn(&Tensor) -> candle_core::Result<Tensor>) -> Result<Tensor> {
    let var = Var::from_tensor(x)?;
    let grads = backward(&f(var.as_tensor())?)?;
    Ok(grads.get(var.as_tensor()).cloned().unwrap_or(x.zeros_like()?))
}

/// Variance of `x: (ALL)` under `policy`.
fn variance(policy: &Tensor, x: &Tensor) -> Result<f64> {
    let mean = expectation_over_completions(policy, x)?;
    scalar(&expectation_over_completions(policy, &x.broadcast_sub(&mean)?.sqr()?)?)
}

fn norm(x: &Tensor) -> Result<f64> {
    scalar(&x.sqr()?.sum_all()?.sqrt()?)
}

fn scalar(x: &Tensor) -> Result<f64> {
    Ok(x.to_scalar()?)
}
