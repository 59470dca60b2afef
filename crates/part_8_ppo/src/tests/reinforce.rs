//! 8.1: bias and variance of REINFORCE, by enumeration of all completions, pairs and triples.

use anyhow::Result;
use candle_core::{DType, Tensor};
use tensor_core::Rng;
use tensor_core::testing::assert_close;

use super::{CPU, number, rows};
use crate::gradient_variance::{
    GradientMoments, moments_of_one_sample, moments_of_pairs, of_all_pairs, reinforce_moments,
};
use crate::policy_gradient::{expected_reward_gradient, gradient, log_prob_gradients};
use crate::reinforce::{ReinforceConfig, RewardBaseline, reinforce_loss, train};
use crate::tabular_mdp::{
    N_COMPLETIONS, N_STATES, VOCAB_SIZE, completion_probs, completion_tokens, exact_token_values,
    expectation_over_completions, log_probs, prefix_states, random_policy, sample_completions,
};

/// Rewards with mean 3.17 and standard deviation 0.91 under `random_policy(1)`, as most rewards are
/// not 0 on average: (Y).
fn rewards() -> Result<Tensor> {
    Ok((Rng::new(9).normal_tensor(N_COMPLETIONS, 1., DType::F64, &CPU)? + 3.)?)
}

fn mean_reward(policy: &Tensor, rewards: &Tensor) -> Result<f64> {
    Ok(number(&expectation_over_completions(policy, rewards)?))
}

fn squared_norm(x: &Tensor) -> Result<f64> {
    Ok(number(&x.sqr()?.sum_all()?))
}

/// Moments of the estimate from one completion with a baseline that is a constant.
fn with_constant(policy: &Tensor, rewards: &Tensor, baseline: f64) -> Result<GradientMoments> {
    Ok(moments_of_one_sample(policy, &(rewards.unsqueeze(1)? - baseline)?)?)
}

fn of_pairs(
    policy: &Tensor,
    rewards: &Tensor,
    baseline: RewardBaseline,
) -> Result<GradientMoments> {
    Ok(moments_of_pairs(policy, &baseline.advantages(&of_all_pairs(rewards)?)?)?)
}

/// |∇log π(y)|² of every completion by hand: Σ_t (1 − 2 π(y_t) + Σ_v π(v)²), because each token
/// changes the logits of another state.
fn squared_norms_by_hand(policy: &Tensor) -> Result<Vec<f64>> {
    let probs = tensor_core::ops::softmax(policy)?.to_vec2::<f64>()?;
    let squared_norm = |(state, token): (usize, usize)| {
        1. - 2. * probs[state][token] + probs[state].iter().map(|p| p * p).sum::<f64>()
    };
    let of_completion =
        |y| prefix_states(y).into_iter().zip(completion_tokens(y)).map(squared_norm).sum();
    Ok((0..N_COMPLETIONS).map(of_completion).collect())
}

/// ∇log π(y) · ∇log π(y') of all pairs of completions: (Y, Y).
fn dot_products(policy: &Tensor) -> Result<Vec<Vec<f64>>> {
    let gradients =
        log_prob_gradients(policy)?.sum(1)?.reshape((N_COMPLETIONS, N_STATES * VOCAB_SIZE))?;
    Ok(gradients.matmul(&gradients.t()?)?.to_vec2()?)
}

#[test]
fn advantages_of_a_group_by_hand() -> Result<()> {
    let rewards = rows([[1., 2., 6.]])?;
    for (baseline, expected) in [
        (RewardBaseline::None, [[1., 2., 6.]]),
        (RewardBaseline::Constant(2.), [[-1., 0., 4.]]),
        (RewardBaseline::GroupMean, [[-2., -1., 3.]]),
        (RewardBaseline::LeaveOneOut, [[-3., -1.5, 4.5]]), // 3/2 of the group mean's
    ] {
        assert_close(&baseline.advantages(&rewards)?, &rows(expected)?, 1e-12);
    }
    assert!(RewardBaseline::LeaveOneOut.advantages(&rows([[1.]])?).is_err());
    Ok(())
}

#[test]
fn the_loss_of_one_completion_has_the_enumerated_moments() -> Result<()> {
    let (policy, rewards) = (random_policy(1)?, rewards()?);
    let probs = completion_probs(&policy)?;
    let values = exact_token_values(&policy, &rewards)?;
    let advantages = rewards.unsqueeze(1)?.broadcast_sub(&values)?; // (Y, T)
    let estimates: Vec<Tensor> = (0..N_COMPLETIONS)
        .map(|y| {
            gradient(&policy, |policy| {
                let log_probs = log_probs(policy)?.narrow(0, y, 1)?; // (1, T)
                reinforce_loss(&log_probs, &advantages.narrow(0, y, 1)?)?.neg()
            })
        })
        .collect::<candle_core::Result<_>>()?;
    let by_loss = GradientMoments::new(&Tensor::stack(&estimates, 0)?, &probs)?;
    let enumerated = moments_of_one_sample(&policy, &advantages)?;
    assert_close(&by_loss.mean, &enumerated.mean, 1e-12);
    assert_close(by_loss.variance, enumerated.variance, 1e-12);
    Ok(())
}

#[test]
fn the_loss_of_all_pairs_with_leave_one_out_has_the_gradient_of_the_mean_reward() -> Result<()> {
    let (policy, rewards) = (random_policy(1)?, rewards()?);
    let probs: Vec<f64> = completion_probs(&policy)?.to_vec1()?;
    let (mut mean, mut second_moment) = (policy.zeros_like()?, 0.);
    for i in 0..N_COMPLETIONS {
        for j in 0..i {
            // A pair and its reverse have one loss; a pair of equals has advantages of 0.
            let p = 2. * probs[i] * probs[j];
            let pair = Tensor::new(&[i as u32, j as u32], &CPU)?;
            let group_rewards = rewards.index_select(&pair, 0)?.unsqueeze(0)?;
            let advantages = RewardBaseline::LeaveOneOut.advantages(&group_rewards)?.t()?; // (2, 1)
            let estimate = gradient(&policy, |policy| {
                reinforce_loss(&log_probs(policy)?.index_select(&pair, 0)?, &advantages)?.neg()
            })?;
            mean = (mean + (&estimate * p)?)?;
            second_moment += p * squared_norm(&estimate)?;
        }
    }
    let truth = expected_reward_gradient(&policy, &rewards)?;
    assert_close(&mean, &truth, 1e-9);
    let enumerated = of_pairs(&policy, &rewards, RewardBaseline::LeaveOneOut)?;
    assert_close(second_moment - squared_norm(&truth)?, enumerated.variance, 1e-9);
    Ok(())
}

#[test]
fn all_baselines_but_the_group_mean_are_unbiased() -> Result<()> {
    let (policy, rewards) = (random_policy(1)?, rewards()?);
    let truth = expected_reward_gradient(&policy, &rewards)?;
    for baseline in [0., -7., mean_reward(&policy, &rewards)?] {
        assert_close(&with_constant(&policy, &rewards, baseline)?.mean, &truth, 1e-9);
    }
    let values = exact_token_values(&policy, &rewards)?;
    let with_values =
        moments_of_one_sample(&policy, &rewards.unsqueeze(1)?.broadcast_sub(&values)?)?;
    assert_close(&with_values.mean, &truth, 1e-9);
    for (baseline, fraction) in [
        (RewardBaseline::None, 1.),
        (RewardBaseline::Constant(2.), 1.),
        (RewardBaseline::LeaveOneOut, 1.),
        (RewardBaseline::GroupMean, 0.5), // (G − 1)/G
    ] {
        let mean = of_pairs(&policy, &rewards, baseline)?.mean;
        assert_close(&mean, &(&truth * fraction)?, 1e-9);
    }
    Ok(())
}

#[test]
fn the_mean_reward_as_baseline_divides_the_variance_by_twelve() -> Result<()> {
    let (policy, rewards) = (random_policy(1)?, rewards()?);
    let mean = mean_reward(&policy, &rewards)?;
    let none = with_constant(&policy, &rewards, 0.)?.variance;
    let constant = with_constant(&policy, &rewards, mean)?.variance;
    let values = exact_token_values(&policy, &rewards)?;
    let values =
        moments_of_one_sample(&policy, &rewards.unsqueeze(1)?.broadcast_sub(&values)?)?.variance;
    // From a program of its own in plain Python, with this generator of random numbers.
    for (variance, expected) in
        [(none, 24.112032562301966), (constant, 1.977681858394104), (values, 1.8655710687889824)]
    {
        assert_close(variance, expected, 1e-9);
    }
    assert!(none / constant > 12. && none / values > 12.9);
    Ok(())
}

#[test]
fn the_variance_of_a_constant_baseline_is_a_parabola_with_its_minimum_near_the_mean() -> Result<()>
{
    // Var(b) = E[(r − b)² |∇log π|²] − |∇E[r]|², so the best b is E[r |∇log π|²] / E[|∇log π|²].
    let (policy, rewards) = (random_policy(1)?, rewards()?);
    let squared_norms = Tensor::new(squared_norms_by_hand(&policy)?, &CPU)?;
    let expectation = |x: &Tensor| mean_reward(&policy, x);
    let norm = expectation(&squared_norms)?;
    let best = expectation(&(&rewards * &squared_norms)?)? / norm;
    let squared_gradient = squared_norm(&expected_reward_gradient(&policy, &rewards)?)?;
    for baseline in [0., best, 5.] {
        let by_hand = expectation(&((&rewards - baseline)?.sqr()? * &squared_norms)?)?;
        let variance = with_constant(&policy, &rewards, baseline)?.variance;
        assert_close(variance, by_hand - squared_gradient, 1e-9);
        let minimum = with_constant(&policy, &rewards, best)?.variance;
        assert_close(variance - minimum, (baseline - best).powi(2) * norm, 1e-9);
    }
    assert_close(best, mean_reward(&policy, &rewards)?, 0.02);
    Ok(())
}

#[test]
fn the_variance_of_leave_one_out_is_that_of_a_u_statistic() -> Result<()> {
    let (policy, rewards) = (random_policy(1)?, rewards()?);
    let pair = of_pairs(&policy, &rewards, RewardBaseline::LeaveOneOut)?.variance;
    let constant = with_constant(&policy, &rewards, mean_reward(&policy, &rewards)?)?.variance;
    let squared_gradient = squared_norm(&expected_reward_gradient(&policy, &rewards)?)?;
    let (probs, r) = (completion_probs(&policy)?.to_vec1::<f64>()?, rewards.to_vec1::<f64>()?);
    let dot = dot_products(&policy)?;
    let (mut of_pairs, mut of_triples) = (0., 0.);
    for i in 0..N_COMPLETIONS {
        for j in 0..N_COMPLETIONS {
            // |½ (r_i − r_j) (∇log π_i − ∇log π_j)|²
            let distance = dot[i][i] - 2. * dot[i][j] + dot[j][j];
            of_pairs += probs[i] * probs[j] * (r[i] - r[j]).powi(2) * distance / 4.;
            for k in 0..N_COMPLETIONS {
                let [a, b, c] = [[i, j, k], [j, k, i], [k, i, j]]
                    .map(|[own, x, y]| r[own] - (r[x] + r[y]) / 2.);
                let squared_norm = a * a * dot[i][i]
                    + b * b * dot[j][j]
                    + c * c * dot[k][k]
                    + 2. * (a * b * dot[i][j] + b * c * dot[j][k] + c * a * dot[k][i]);
                of_triples += probs[i] * probs[j] * probs[k] * squared_norm / 9.;
            }
        }
    }
    assert_close(of_pairs - squared_gradient, pair, 1e-9);
    let of_group =
        |baseline, group_size| reinforce_moments(&policy, &rewards, baseline, group_size);
    let triple = of_group(RewardBaseline::LeaveOneOut, 3)?;
    assert_close(of_triples - squared_gradient, triple.variance, 1e-9);
    // With 64 completions it is within 2 % of the mean reward as baseline.
    let many = 64. * of_group(RewardBaseline::LeaveOneOut, 64)?.variance;
    assert!(many > constant && many < 1.02 * constant);
    Ok(())
}

#[test]
fn moments_of_a_group_of_two_are_those_of_all_pairs() -> Result<()> {
    let (policy, rewards) = (random_policy(1)?, rewards()?);
    for baseline in [
        RewardBaseline::None,
        RewardBaseline::Constant(2.),
        RewardBaseline::GroupMean,
        RewardBaseline::LeaveOneOut,
    ] {
        let of_group = reinforce_moments(&policy, &rewards, baseline, 2)?;
        let of_pairs = of_pairs(&policy, &rewards, baseline)?;
        assert_close(&of_group.mean, &of_pairs.mean, 1e-12);
        assert_close(of_group.variance, of_pairs.variance, 1e-9);
    }
    assert!(reinforce_moments(&policy, &rewards, RewardBaseline::LeaveOneOut, 1).is_err());
    Ok(())
}

#[test]
fn a_constant_added_to_all_rewards_changes_only_the_variance_without_a_baseline() -> Result<()> {
    let (policy, rewards) = (random_policy(1)?, rewards()?);
    let shifted = (&rewards + 10.)?;
    let variance = |rewards: &Tensor, baseline| -> Result<f64> {
        Ok(of_pairs(&policy, rewards, baseline)?.variance)
    };
    for baseline in [RewardBaseline::GroupMean, RewardBaseline::LeaveOneOut] {
        assert_close(variance(&shifted, baseline)?, variance(&rewards, baseline)?, 1e-9);
    }
    let none = RewardBaseline::None;
    assert!(variance(&shifted, none)? > 10. * variance(&rewards, none)?);
    Ok(())
}

#[test]
fn completions_are_sampled_with_their_probabilities() -> Result<()> {
    let policy = random_policy(1)?;
    let n = 20_000;
    let sampled: Vec<u32> = sample_completions(&policy, n, &mut Rng::new(4))?.to_vec1()?;
    for (y, p) in completion_probs(&policy)?.to_vec1::<f64>()?.into_iter().enumerate() {
        let count = sampled.iter().filter(|sampled| **sampled as usize == y).count() as f64;
        let deviation = (n as f64 * p * (1. - p)).sqrt();
        assert!((count - n as f64 * p).abs() < 4.5 * deviation, "completion {y}: {count}");
    }
    Ok(())
}

#[test]
fn a_baseline_learns_more_from_the_same_number_of_samples() -> Result<()> {
    let (policy, rewards) = (random_policy(1)?, rewards()?);
    // 400 completions each. Learning rates: the best of 0.1, 0.2, 0.4, 0.7, 1, 1.5, 2 and 3 over
    // 100 seeds, where the means are 4.35 and 4.81 with standard errors of 0.05.
    let learned = |baseline, lr| -> Result<Vec<f64>> {
        let config = ReinforceConfig { group_size: 4, steps: 100, lr };
        (1..=20)
            .map(|seed| {
                let policy = train(&policy, &rewards, baseline, config, &mut Rng::new(seed))?;
                mean_reward(&policy, &rewards)
            })
            .collect()
    };
    let none = learned(RewardBaseline::None, 0.7)?;
    let leave_one_out = learned(RewardBaseline::LeaveOneOut, 1.)?;
    assert!(leave_one_out[0] > none[0] + 0.3, "seed 1: {} {}", leave_one_out[0], none[0]);
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (none, leave_one_out) = (mean(&none), mean(&leave_one_out));
    assert!(none > 4. && leave_one_out > none + 0.3, "{leave_one_out} {none}");
    Ok(())
}

#[test]
fn equal_rewards_teach_nothing_but_noise_without_a_baseline() -> Result<()> {
    let policy = random_policy(1)?;
    let equal = (rewards()?.zeros_like()? + 3.)?;
    let config = ReinforceConfig { group_size: 4, steps: 100, lr: 0.4 };
    let entropy = |policy: &Tensor| -> Result<f64> {
        mean_reward(policy, &log_probs(policy)?.sum(1)?.neg()?)
    };
    let learned = |baseline| train(&policy, &equal, baseline, config, &mut Rng::new(1));
    assert_close(&learned(RewardBaseline::LeaveOneOut)?, &policy, 1e-12);
    // The sampled completions become more likely, for no reason.
    let noise = entropy(&learned(RewardBaseline::None)?)?;
    assert!(noise < 0.7 * entropy(&policy)?, "{noise}");
    Ok(())
}
