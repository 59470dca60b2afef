//! Chapter 9.

use anyhow::Result;
use candle_core::Tensor;
use grpo::{Aggregation, Baseline, KlLoss, advantages, pass_at_k};
use ppo::RewardBaseline;
use ppo::gradient_variance::reinforce_moments;
use ppo::policy_gradient::{expected_reward_gradient, gradient};
use ppo::tabular_mdp::{
    N_COMPLETIONS, completion_probs, expectation_over_completions, log_probs, random_policy,
};
use tensor_core::testing::assert_close;

use super::{normal, tensor};
use crate::group_weights::weight;

fn of(rewards: &[f32], baseline: Baseline) -> Result<Vec<f32>> {
    Ok(advantages(rewards, rewards.len(), baseline, 0., 0.)?)
}

#[test]
fn advantages_of_the_text() -> Result<()> {
    let two_of_eight = [1., 1., 0., 0., 0., 0., 0., 0.];
    let mean = of(&two_of_eight, Baseline::GroupMean)?;
    assert_close([mean[0], mean[7]], [0.75, -0.25], 1e-6);
    let std = of(&two_of_eight, Baseline::GroupStd)?;
    assert_close([std[0], std[7], mean[0] / std[0]], [1.62, -0.54, 0.463], 5e-4);
    let four = [2.8, 0.8, 0.2, 0.];
    assert_close(of(&four, Baseline::GroupMean)?, [1.85, -0.15, -0.75, -0.95], 1e-6);
    let std = of(&four, Baseline::GroupStd)?;
    assert_close(&std, [1.446, -0.117, -0.586, -0.743], 5e-4);
    assert_close(1.85 / std[0], 1.279, 5e-4);
    for rewards in [[1., 0.], [2.5, 0.], [0.25, 0.]] {
        assert_close(of(&rewards, Baseline::GroupStd)?, [0.707, -0.707], 5e-4);
    }
    assert_close(of(&[1., 0.], Baseline::LeaveOneOut)?, [1., -1.], 1e-6);
    Ok(())
}

#[test]
fn the_mean_of_the_group_leaves_g_minus_1_over_g_of_the_gradient() -> Result<()> {
    let (policy, rewards) = (random_policy(1)?, tensor(&normal(N_COMPLETIONS, 7))?);
    let truth = expected_reward_gradient(&policy, &rewards)?;
    for g in [2, 3, 16] {
        let mean = |baseline| -> Result<Tensor> {
            Ok(reinforce_moments(&policy, &rewards, baseline, g)?.mean)
        };
        let fraction = (g as f64 - 1.) / g as f64;
        assert_close(mean(RewardBaseline::GroupMean)?, (&truth * fraction)?, 1e-9);
        assert_close(mean(RewardBaseline::LeaveOneOut)?, truth.clone(), 1e-9);
    }
    // The others' mean, and the group's, differ by a factor.
    let rewards: Vec<f32> = normal(5, 3).into_iter().map(|r| r as f32).collect();
    let scaled: Vec<f32> =
        of(&rewards, Baseline::GroupMean)?.into_iter().map(|a| a * 5. / 4.).collect();
    assert_close(of(&rewards, Baseline::LeaveOneOut)?, scaled, 1e-6);
    Ok(())
}

#[test]
fn a_prompt_counts_by_the_variance_of_its_reward_or_by_its_root() -> Result<()> {
    for p in [0.05, 0.3, 0.5, 0.9] {
        for g in [2, 8] {
            assert_close(weight(p, g, Baseline::LeaveOneOut)?, p * (1. - p), 1e-6);
        }
        // Large groups have the standard deviation of the reward itself.
        let root = (p * (1. - p)).sqrt();
        assert_close(weight(p, 200, Baseline::GroupStd)?, root, 0.02);
    }
    assert_close([0.05 * 0.95, (0.05f64 * 0.95).sqrt()], [0.0475, 0.218], 5e-4);
    Ok(())
}

#[test]
fn the_gradient_is_p_times_1_minus_p_times_the_difference_of_the_means() -> Result<()> {
    let policy = random_policy(1)?;
    let right: Vec<f64> = (0..N_COMPLETIONS).map(|y| f64::from(u8::from(y % 7 < 2))).collect();
    let rewards = tensor(&right)?;
    let p: f64 = expectation_over_completions(&policy, &rewards)?.to_scalar()?;
    let mean_where = |indicator: &Tensor, share: f64| -> Result<Tensor> {
        Ok((ppo::policy_gradient::policy_gradient(&policy, &indicator.unsqueeze(1)?)? / share)?)
    };
    let right_mean = mean_where(&rewards, p)?;
    let wrong_mean = mean_where(&(1. - &rewards)?, 1. - p)?;
    let difference = ((right_mean - wrong_mean)? * (p * (1. - p)))?;
    assert_close(difference, expected_reward_gradient(&policy, &rewards)?, 1e-12);
    Ok(())
}

#[test]
fn weights_of_tokens_of_the_text() {
    let weights = |rule: Aggregation| rule.weights(&[4, 40], &[true, true], 64);
    assert_close(weights(Aggregation::Sequence), [0.125, 0.0125], 1e-6);
    assert_close(weights(Aggregation::Token), [0.0227, 0.0227], 5e-5);
    assert_close(weights(Aggregation::Constant), [0.0078, 0.0078], 5e-5);
}

#[test]
fn pass_at_k_of_the_text() {
    assert_close(pass_at_k(4, 1, 2), 0.5, 1e-12);
    assert_close(1. - (1. - 0.25f64).powi(2), 0.4375, 1e-12);
}

#[test]
fn k3_times_the_ratio_has_the_gradient_of_the_kl() -> Result<()> {
    let (policy, reference) = (random_policy(1)?, random_policy(2)?);
    let sums = |policy: &Tensor| log_probs(policy)?.sum(1);
    let (probs, old, log_q) = (completion_probs(&policy)?, sums(&policy)?, sums(&reference)?);
    let found = gradient(&policy, |p| {
        (KlLoss::K3Weighted.per_token(&sums(p)?, &log_q, &old)? * &probs)?.sum_all()
    })?;
    let truth = gradient(&policy, |p| expectation_over_completions(p, &(sums(p)? - &log_q)?))?;
    assert_close(found, truth, 1e-9);
    Ok(())
}
