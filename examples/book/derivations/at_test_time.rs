//! Chapter 11.

use anyhow::Result;
use dpo::best_of_n::{kl_bound, majority};
use ppo::tabular_mdp::{N_COMPLETIONS, completion_probs, log_probs, random_policy};
use tensor_core::Rng;
use tensor_core::testing::assert_close;

use super::{kl, normal, softmax, tensor};
use crate::goodhart::optimum;
use crate::test_time::{best_of_n, majority_is_right, majority_of_two_kinds, optimum_of_score};

#[test]
fn majorities_of_the_text() {
    let two = |p: f64, n| majority_is_right(&[p, 1. - p], n);
    assert_close(two(0.6, 3), 0.216 + 0.432, 1e-12);
    assert_close([two(0.6, 15), two(0.45, 15)], [0.787, 0.347], 5e-4);
    let mixed = |n| majority_of_two_kinds([0.9, 0.3], n);
    assert_close([mixed(1), mixed(15)], [0.6, 0.525], 5e-4);
    assert!(majority_is_right(&[0.4, 0.2, 0.2, 0.2], 31) > 0.75);
}

#[test]
fn the_counted_majority_is_that_of_sampled_votes() {
    let (probs, n, trials) = ([0.4, 0.3, 0.2, 0.1], 6, 20_000);
    let mut rng = Rng::new(5);
    let mut right = 0;
    for _ in 0..trials {
        let votes = (0..n).map(|_| {
            let mut rest = rng.uniform();
            let vote = probs.iter().position(|p| {
                rest -= p;
                rest < 0.
            });
            vote.unwrap_or(3).to_string()
        });
        let votes: Vec<String> = votes.collect();
        right += usize::from(votes[majority(&votes)] == "0");
    }
    assert_close(right as f64 / f64::from(trials), majority_is_right(&probs, n), 0.012);
}

#[test]
fn best_of_n_is_the_best_policy_for_the_logarithm_of_the_rank() {
    // N answers of equal probability; β = 1/(n − 1), so that e^{log u / β} = uⁿ⁻¹.
    const N: u32 = 20_000;
    for n in [2, 5, 64] {
        let u = |i: u32| f64::from(i) / f64::from(N);
        let weights: Vec<f64> = (1..=N).map(|i| (u(i) - 0.5 / f64::from(N)).powi(n - 1)).collect();
        let z: f64 = weights.iter().sum();
        let distance: f64 = (1..=N)
            .zip(&weights)
            .map(|(i, weight)| (weight / z - (u(i).powi(n) - u(i - 1).powi(n))).abs())
            .sum();
        assert!(distance < 1e-4, "{n}: {distance}");
    }
}

#[test]
fn no_policy_of_the_same_kl_has_a_better_rank_than_best_of_n() {
    // E[log u] − β KL is largest for best of n: every other policy of its KL has a lower mean.
    const N: usize = 400;
    let log_u: Vec<f64> = (0..N).map(|i| ((i as f64 + 0.5) / N as f64).ln()).collect();
    let reference = [1. / N as f64; N];
    for n in [2., 5., 16.] {
        let weights: Vec<f64> = log_u.iter().map(|u| (u * (n - 1.)).exp()).collect();
        let z: f64 = weights.iter().sum();
        let best: Vec<f64> = weights.iter().map(|weight| weight / z).collect();
        let value = |policy: &[f64]| {
            let mean: f64 = policy.iter().zip(&log_u).map(|(p, u)| p * u).sum();
            mean - kl(policy, &reference) / (n - 1.)
        };
        for seed in 0..20 {
            let noise = normal(N, seed);
            let logits = best.iter().zip(&noise).map(|(p, noise)| p.ln() + 0.2 * noise);
            assert!(value(&softmax(&logits.collect::<Vec<_>>())) < value(&best));
        }
    }
}

#[test]
fn at_the_same_kl_best_of_n_has_the_lower_score_and_at_first_the_better_answers() -> Result<()> {
    for n in [2, 8, 16, 64] {
        let best = best_of_n(n)?;
        assert!(best.kl <= kl_bound(n as usize) + 1e-12);
        // The policy of the same KL, by bisection over β.
        let (mut low, mut high) = (1e-3f64, 1e3f64);
        for _ in 0..60 {
            let middle = (low * high).sqrt();
            if optimum(middle)?.kl > best.kl { low = middle } else { high = middle }
        }
        let same_kl = optimum(low)?;
        assert!(best.proxy <= same_kl.proxy + 1e-9 && best.proxy > 0.85 * same_kl.proxy, "{n}");
        assert!(best.truth > same_kl.truth, "{n}");
    }
    assert!(best_of_n(256)?.truth < best_of_n(1)?.truth);
    let (best, same_score) = (best_of_n(8)?, optimum_of_score(best_of_n(8)?.proxy)?);
    assert_close([best.proxy, best.truth], [1.538, 1.082], 5e-4);
    assert_close([same_score.proxy, same_score.truth], [1.538, 0.586], 5e-4);
    Ok(())
}

#[test]
fn rewriting_goes_to_a_over_a_plus_b() {
    let after = |p: f64, a: f64, b: f64, rounds: i32| {
        (0..rounds).fold(p, |p, _| p * (1. - b) + (1. - p) * a)
    };
    for (p, a, b) in [(0.6, 0.2, 0.1), (0.1, 0.5, 0.3), (0.9, 0.1, 0.1)] {
        let fixed = a / (a + b);
        assert_close(after(p, a, b, 7) - fixed, (p - fixed) * f64::powi(1. - a - b, 7), 1e-12);
        // With a judge nothing is spoiled.
        assert_close(after(p, a, 0., 5), 1. - (1. - p) * f64::powi(1. - a, 5), 1e-12);
        assert_close(after(p, p, 0., 5), 1. - f64::powi(1. - p, 6), 1e-12); // a new attempt
    }
    assert_close([after(0.6, 0.2, 0.1, 1), after(0.6, 0.2, 0.1, 99)], [0.62, 0.667], 5e-4);
    assert_close(after(0.6, 0.1, 0.1, 99), 0.5, 1e-9);
    assert_close(1. - f64::powi(0.52, 8), 0.995, 5e-4);
    // After a wrong attempt, if half of the questions are solved in .9 and half in .3 of them.
    let right = |p: f64| (p * (1. - p), 1. - p);
    let ((a, b), (c, d)) = (right(0.9), right(0.3));
    assert_close((a + c) / (b + d), 0.375, 1e-12);
}

#[test]
fn three_rounds_of_best_of_4_are_the_best_of_64() {
    for u in [0.1f64, 0.7, 0.99] {
        assert_close(u.powi(4).powi(4).powi(4), u.powi(64), 1e-12);
    }
}

#[test]
fn the_soft_value_gives_the_best_policy_token_by_token() -> Result<()> {
    let beta = 0.6;
    let reference = random_policy(1)?;
    let (probs, rewards) =
        (completion_probs(&reference)?.to_vec1::<f64>()?, normal(N_COMPLETIONS, 4));
    let tokens: Vec<Vec<f64>> = log_probs(&reference)?.to_vec2()?;
    let weights: Vec<f64> = probs.iter().zip(&rewards).map(|(p, r)| p * (r / beta).exp()).collect();
    let z: f64 = weights.iter().sum();
    // All completions y with y / step = prefix begin with that prefix.
    let soft_value = |prefix: usize, step: usize| {
        let range = prefix * step..(prefix + 1) * step;
        let mass: f64 = probs[range.clone()].iter().sum();
        beta * (weights[range].iter().sum::<f64>() / mass).ln()
    };
    let mut token_by_token = Vec::new();
    for (y, tokens) in tokens.iter().enumerate() {
        let mut log_prob = 0.;
        for (t, step) in [25, 5, 1].into_iter().enumerate() {
            let (before, after) =
                (soft_value(y / (5 * step), 5 * step), soft_value(y / step, step));
            log_prob += tokens[t] + (after - before) / beta;
        }
        token_by_token.push(log_prob.exp());
    }
    let optimal: Vec<f64> = weights.iter().map(|weight| weight / z).collect();
    assert_close(tensor(&token_by_token)?, tensor(&optimal)?, 1e-12);
    assert_close(soft_value(0, N_COMPLETIONS), beta * z.ln(), 1e-12); // at the empty text
    Ok(())
}
