//! Chapter 10.

mod relatives;

use anyhow::Result;
use dpo::{Divergence, LossType, implicit_reward, optimal_log_probs};
use ppo::policy_gradient::gradient;
use tensor_core::ops::log_softmax;
use tensor_core::testing::assert_close;

use super::{distribution, kl, normal, number, softmax, tensor};
use crate::displacement::{BETA, FEATURES, REFERENCE, train};
use crate::dpo_losses::losses;
use crate::implicit_rewards::learn;
use crate::policy_gradient::{PROBS, REWARDS};

const DPO: LossType = LossType::Sigmoid { label_smoothing: 0. };

fn sigmoid(x: f64) -> f64 {
    1. / (1. + (-x).exp())
}

fn loss(loss_type: LossType, beta: f64, delta: f64) -> Result<f64> {
    Ok(losses(loss_type, beta, &[delta])?[0])
}

#[test]
fn the_implicit_reward_of_the_best_policy_is_the_reward_less_beta_log_z() -> Result<()> {
    for (seed, beta) in [(0, 0.3), (1, 1.), (2, 4.)] {
        let (rewards, reference) = (normal(6, seed), distribution(6, seed + 50));
        let log_reference = tensor(&reference)?.log()?;
        let best = optimal_log_probs(&log_reference, &tensor(&rewards)?, beta)?;
        let z: f64 = reference.iter().zip(&rewards).map(|(p, r)| p * (r / beta).exp()).sum();
        let implicit = implicit_reward(&best, &log_reference, beta)?;
        let expected: Vec<f64> = rewards.iter().map(|r| r - beta * z.ln()).collect();
        assert_close(implicit, tensor(&expected)?, 1e-12);
    }
    let log_reference = tensor(&PROBS)?.log()?;
    let best = optimal_log_probs(&log_reference, &tensor(&REWARDS)?, 1.)?;
    assert_close(best.exp()?, tensor(&[0.179, 0.292, 0.529])?, 5e-4);
    let implicit = implicit_reward(&best, &log_reference, 1.)?;
    assert_close(implicit, tensor(&[-1.027, -0.027, 0.973])?, 5e-4);
    Ok(())
}

#[test]
fn the_pair_of_the_text_and_the_gradient_of_any_pair() -> Result<()> {
    let delta = (-11. + 12.) - (-13. + 10.);
    assert_close([0.1 * delta, sigmoid(0.4)], [0.4, 0.599], 5e-4);
    assert_close(loss(DPO, 0.1, delta)?, 0.513, 5e-4);
    assert_close(0.1 * sigmoid(-0.4), 0.0401, 5e-5);
    for beta in [0.1, 5.] {
        assert_close(loss(DPO, beta, 0.)?, 2f64.ln(), 1e-12); // at the start
    }
    // The loss of logits, whose derivative is −β σ(−βΔ) (∇log π(y⁺) − ∇log π(y⁻)).
    let (logits, reference, beta) = (normal(5, 1), normal(5, 2), 0.7);
    let log_ratio =
        |x: &candle_core::Tensor| log_softmax(x)? - log_softmax(&tensor_of(&reference)?)?;
    let found = gradient(&tensor(&logits)?, |x| {
        let ratio = log_ratio(x)?;
        let margin = ((ratio.get(1)? - ratio.get(3)?)? * beta)?;
        (margin.neg()?.exp()? + 1.)?.log()
    })?;
    let ratio: Vec<f64> = log_ratio(&tensor(&logits)?)?.to_vec1()?;
    let weight = -beta * sigmoid(-beta * (ratio[1] - ratio[3]));
    // ∇log π(1) − ∇log π(3) = onehot(1) − onehot(3): the normalization cancels.
    assert_close(found, tensor(&[0., weight, 0., -weight, 0.])?, 1e-9);
    Ok(())
}

fn tensor_of(x: &[f64]) -> candle_core::Result<candle_core::Tensor> {
    candle_core::Tensor::new(x, &candle_core::Device::Cpu)
}

#[test]
fn all_pairs_lead_to_the_best_policy() -> Result<()> {
    let (start, end) = (learn(0)?, learn(300)?);
    assert_close(start.distance, 0.465, 5e-4);
    assert!(end.distance < 1e-3, "{}", end.distance);
    assert_close(&end.implicit, &end.rewards[..], 2e-2);
    Ok(())
}

#[test]
fn both_answers_of_a_pair_fall_and_a_third_one_rises() -> Result<()> {
    let path = train(BETA, 0.)?;
    let (first, last) = (path[0], path[path.len() - 1]);
    assert_close(last.map(f64::exp), [0.060, 0.006, 0.934], 5e-4);
    assert_close((last[0] - first[0]) - (last[1] - first[1]), 1.04, 5e-3);
    assert!(last[0] < first[0] && last[1] < first[1]);
    let with_sft = train(BETA, 0.2)?;
    assert!(with_sft[30][0] > first[0]);
    // The scores change by a multiple of the products of the text.
    let direction = [FEATURES[0][0] - FEATURES[1][0], FEATURES[0][1] - FEATURES[1][1]];
    let products = FEATURES.map(|f| f[0] * direction[0] + f[1] * direction[1]);
    assert_close(products, [0.08, -0.08, 0.8], 1e-12);
    let change: Vec<f64> = (0..3).map(|i| path[1][i] - first[i]).collect();
    let ratio = (change[2] - change[0]) / (change[0] - change[1]);
    assert_close(ratio, (0.8 - 0.08) / 0.16, 1e-5); // the normalization cancels in differences
    Ok(())
}

#[test]
fn a_log_probability_moves_by_its_features_less_their_mean() -> Result<()> {
    // ∇_w log π(y) = φ_y − Σ π φ, at weights that are not 0.
    let features = candle_core::Tensor::new(&FEATURES, &candle_core::Device::Cpu)?;
    let weights = tensor(&[0.3, -0.4])?;
    let scores = |w: &candle_core::Tensor| features.matmul(&w.unsqueeze(1)?)?.squeeze(1);
    let probs: Vec<f64> = softmax(&scores(&weights)?.to_vec1::<f64>()?);
    let mean = [0, 1].map(|j| (0..3).map(|y| probs[y] * FEATURES[y][j]).sum::<f64>());
    for (y, phi) in FEATURES.iter().enumerate() {
        let found = gradient(&weights, |w| log_softmax(&scores(w)?)?.get(y))?;
        assert_close(found, tensor(&[phi[0] - mean[0], phi[1] - mean[1]])?, 1e-9);
    }
    // The products of the text, less their mean: the chosen one loses from the first step on.
    let products = [0.08, -0.08, 0.8];
    let mean: f64 = REFERENCE.iter().zip(products).map(|(p, x)| p * x).sum();
    assert_close(mean, 0.12, 1e-12);
    assert_close(products.map(|x| x - mean), [-0.04, -0.2, 0.68], 1e-12);
    let path = train(1e-3, 0.)?; // a small β is a small step, c = β / 2
    let change: Vec<f64> = (0..3).map(|y| (path[1][y] - path[0][y]) / 5e-4).collect();
    assert_close(&change[..], &[-0.04, -0.2, 0.68][..], 1e-3);
    Ok(())
}

#[test]
fn a_larger_beta_displaces_less_at_the_same_margin() -> Result<()> {
    // Probability of the chosen answer where β Δ first reaches 0.52.
    let at_margin = |beta: f64| -> Result<f64> {
        let path = train(beta, 0.)?;
        let margin = |at: &[f64; 3]| {
            let [chosen, rejected, _] = REFERENCE.map(f64::ln);
            beta * ((at[0] - chosen) - (at[1] - rejected))
        };
        let (before, after) = path
            .windows(2)
            .map(|pair| (pair[0], pair[1]))
            .find(|(_, after)| margin(after) >= 0.519)
            .unwrap_or((path[0], path[30]));
        let share = ((0.519 - margin(&before)) / (margin(&after) - margin(&before))).min(1.);
        Ok((before[0] + share * (after[0] - before[0])).exp())
    };
    assert_close([at_margin(0.5)?, at_margin(1.)?], [0.06, 0.38], 1e-2);
    Ok(())
}

#[test]
fn twice_the_reward_at_twice_beta_has_the_same_best_policy() -> Result<()> {
    let (rewards, log_reference) = (tensor(&normal(6, 7))?, tensor(&distribution(6, 8))?.log()?);
    let best = optimal_log_probs(&log_reference, &rewards, 0.7)?;
    assert_close(optimal_log_probs(&log_reference, &(rewards * 2.)?, 1.4)?, best, 1e-12);
    Ok(())
}

#[test]
fn forward_and_reverse_divergences_of_the_text_and_the_sampled_gradient() -> Result<()> {
    let teacher = [0.495, 0.495, 0.01];
    let (spread, chosen) = ([0.35, 0.35, 0.3], [0.98, 0.01, 0.01]);
    assert_close([kl(&teacher, &spread), kl(&spread, &teacher)], [0.309, 0.778], 5e-4);
    assert_close([kl(&teacher, &chosen), kl(&chosen, &teacher)], [1.593, 0.630], 5e-4);
    // Σ_v π(v) of the gradients at each token v is the gradient of KL(π ‖ teacher).
    let (logits, teacher) = (normal(5, 3), tensor(&normal(5, 4))?.unsqueeze(0)?);
    let probs = softmax(&logits);
    let row = tensor(&logits)?.unsqueeze(0)?;
    let of = |divergence: Divergence, token: i64| {
        gradient(&row, |x| {
            let tokens = candle_core::Tensor::new(&[token], x.device())?;
            divergence.per_token(x, &teacher, &tokens)?.sum_all()
        })
    };
    let exact = of(Divergence::Jsd { beta: 1. }, 0)?;
    let mut mean = exact.zeros_like()?;
    for (token, p) in probs.into_iter().enumerate() {
        mean = (mean + (of(Divergence::Sampled, token as i64)? * p)?)?;
    }
    assert_close(mean, exact.clone(), 1e-9);
    assert!(number(&exact.abs()?.sum_all()?)? > 0.1);
    // As a loss, log π(v) − log τ(v) does nothing on average.
    let probs = softmax(&logits);
    let mut as_loss = exact.zeros_like()?;
    for (token, p) in probs.into_iter().enumerate() {
        let of_token = gradient(&row, |x| log_softmax(x)?.narrow(1, token, 1)?.sum_all())?;
        as_loss = (as_loss + (of_token * p)?)?;
    }
    assert_close(as_loss.clone(), as_loss.zeros_like()?, 1e-12);
    Ok(())
}
