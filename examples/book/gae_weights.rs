//! Chapter 8: the weights that GAE gives to later rewards, and what λ does to bias and variance.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use ppo::gradient_variance::moments_of_one_sample;
use ppo::policy_gradient::{expected_reward_gradient, relative_error};
use ppo::rewards::token_rewards;
use ppo::tabular_mdp::{COMPLETION_LEN, N_COMPLETIONS, exact_token_values, random_policy};
use ppo::{GaeConfig, gae};
use tensor_core::Rng;

use crate::artifacts::Artifact;
use crate::plot::{self, Axes, Mark, Series};

/// Weight of δ at each of `n` steps in the first advantage, by part 8's `gae`: a reward of 1 there
/// and nothing else.
pub(crate) fn weights(lambda: f64, n: usize) -> Result<Vec<f64>> {
    let rewards = Tensor::eye(n, DType::F64, &Device::Cpu)?; // row k: a reward at step k
    let zeros = rewards.zeros_like()?;
    let bootstrap = Tensor::zeros(n, DType::F64, &Device::Cpu)?;
    let config = GaeConfig { gamma: 1., lambda };
    let output = gae(&rewards, &zeros, &bootstrap, &zeros.ones_like()?, config)?;
    Ok(output.advantages.narrow(1, 0, 1)?.squeeze(1)?.to_vec1()?)
}

/// Bias, relative to the gradient, and variance of the policy gradient from one completion with a
/// critic that says half the true value.
pub(crate) fn bias_and_variance(lambda: f64) -> Result<(f64, f64)> {
    let policy = random_policy(1)?;
    let rewards = (Rng::new(9).normal_tensor(N_COMPLETIONS, 1., DType::F64, &Device::Cpu)? + 3.)?;
    let truth = expected_reward_gradient(&policy, &rewards)?;
    let zero = Tensor::zeros((N_COMPLETIONS, COMPLETION_LEN), DType::F64, &Device::Cpu)?;
    let (bootstrap, mask) = (rewards.zeros_like()?, zero.ones_like()?);
    let token_rewards = token_rewards(&rewards, &zero, 0., &mask)?;
    let values = (exact_token_values(&policy, &rewards)? * 0.5)?;
    let config = GaeConfig { gamma: 1., lambda };
    let advantages = gae(&token_rewards, &values, &bootstrap, &mask, config)?.advantages;
    let moments = moments_of_one_sample(&policy, &advantages)?;
    Ok((relative_error(&moments.mean, &truth)?, moments.variance))
}

/// Both figures.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let mut series = Vec::new();
    for (color, (name, lambda)) in
        [("λ = 0", 0.), ("λ = 0.5", 0.5), ("λ = 0.95", 0.95), ("λ = 1", 1.)].into_iter().enumerate()
    {
        let points = (0..).zip(weights(lambda, 21)?).map(|(k, weight)| (f64::from(k), weight));
        series.push(Series::line(name, color, points.collect()).marked(Mark::LineAndDots));
    }
    let axes = Axes {
        title: "weight of δ in the advantage of the token k steps before it, γ = 1",
        x: ("k", 0. ..20.3),
        y: ("weight", -0.02..1.05),
        x_tick: plot::plain,
    };
    let weights = plot::figure(310, |area| plot::chart(area, &axes, &series))?;
    let (mut bias, mut deviation) = (Vec::new(), Vec::new());
    for step in 0..=20 {
        let lambda = f64::from(step) / 20.;
        let (b, v) = bias_and_variance(lambda)?;
        bias.push((lambda, b));
        deviation.push((lambda, v.sqrt()));
    }
    let series = [
        Series::line("bias, in lengths of the gradient", 1, bias),
        Series::line("standard deviation", 0, deviation),
    ];
    let axes = Axes {
        title: "gradient from one completion, critic: half the true value",
        x: ("λ", 0. ..1.02),
        y: ("", 0. ..2.8),
        x_tick: plot::plain,
    };
    let trade = plot::figure(290, |area| plot::chart(area, &axes, &series))?;
    Ok(vec![Artifact::figure("gae_weights", weights), Artifact::figure("gae_trade", trade)])
}
