//! Chapter 10.

use anyhow::Result;
use dpo::losses::LossTotals;
use dpo::{
    BatchLogProbs, Divergence, DpoLoss, Label, LossType, implicit_reward, optimal_log_probs,
};
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

/// Log-probabilities of one answer, with 3 tokens, and their label.
fn single(policy: f64, reference: f64, label: Label) -> Result<BatchLogProbs> {
    Ok(BatchLogProbs::new(&tensor(&[policy])?, &[reference], &[3], vec![label])?)
}

#[test]
fn ktos_losses_are_flat_at_both_ends() -> Result<()> {
    let beta = 0.5;
    let loss_type = LossType::Kto { desirable_weight: 1., undesirable_weight: 1. };
    let kto = DpoLoss { loss_type, beta, sft_weight: 0. };
    let totals = LossTotals { n_losses: 1, n_chosen_tokens: 3, kl: 0.8 };
    let of = |log_ratio: f64, label| -> Result<f64> {
        number(&kto.compute(&single(log_ratio - 9., -9., label)?, &totals)?)
    };
    for log_ratio in [-3., 0., 0.8, 2.] {
        let (h, zero) = (beta * log_ratio, beta * 0.8);
        assert_close(of(log_ratio, Label::Chosen)?, 1. - sigmoid(h - zero), 1e-6);
        assert_close(of(log_ratio, Label::Rejected)?, 1. - sigmoid(zero - h), 1e-6);
    }
    let pull = |log_ratio: f64| -> Result<f64> {
        Ok(of(log_ratio - 0.5, Label::Chosen)? - of(log_ratio + 0.5, Label::Chosen)?)
    };
    let [hopeless, open, settled] = [pull(-9.)?, pull(0.8)?, pull(11.)?];
    assert!(open > 10. * hopeless && open > 10. * settled, "{hopeless} {open} {settled}");
    Ok(())
}

#[test]
fn orpo_and_simpo_compare_geometric_means() -> Result<()> {
    let (beta, gamma): (f64, f64) = (0.4, 0.3);
    let pair = |log_probs: [f64; 2], n_tokens: [usize; 2]| -> Result<[BatchLogProbs; 2]> {
        let one = |i: usize, label| {
            let log_prob = tensor(&log_probs[i..=i])?;
            Ok::<_, anyhow::Error>(BatchLogProbs::new(
                &log_prob,
                &[0.],
                &n_tokens[i..=i],
                vec![label],
            )?)
        };
        Ok([one(0, Label::Chosen)?, one(1, Label::Rejected)?])
    };
    let [chosen, rejected] = pair([-3., -8.], [2, 4])?;
    let p = [(-3f64 / 2.).exp(), (-8f64 / 4.).exp()]; // geometric means
    let of = |loss_type| -> Result<f64> {
        let loss = DpoLoss { loss_type, beta, sft_weight: 0. };
        number(&loss.pair_losses(&chosen, &rejected)?.sum_all()?)
    };
    let log_odds = p.map(|p| (p / (1. - p)).ln());
    let expected = -beta * sigmoid(log_odds[0] - log_odds[1]).ln();
    assert_close(of(LossType::Orpo)?, expected, 1e-9);
    let expected = -sigmoid(beta * p[0].ln() - beta * p[1].ln() - gamma).ln();
    assert_close(of(LossType::Simpo { gamma })?, expected, 1e-9);
    Ok(())
}

#[test]
fn the_best_margins_of_the_relatives() -> Result<()> {
    let (beta, epsilon) = (0.5, 0.1);
    let conservative = LossType::Sigmoid { label_smoothing: epsilon };
    let best = ((1. - epsilon) / epsilon).ln() / beta;
    assert_close([beta * best, best], [2.197, 4.394], 5e-4);
    for other in [best - 0.1, best + 0.1] {
        assert!(loss(conservative, beta, other)? > loss(conservative, beta, best)?);
    }
    assert_close(loss(LossType::Ipo, beta, 1.)?, 0., 1e-12); // 1/2β
    assert_close(
        [loss(LossType::Hinge, beta, 2.)?, loss(LossType::Hinge, beta, 1.)?],
        [0., 0.5],
        1e-12,
    );
    // DPO's own has none.
    let deltas: Vec<f64> = (0..50).map(f64::from).collect();
    assert!(losses(DPO, beta, &deltas)?.windows(2).all(|pair| pair[1] < pair[0]));
    Ok(())
}

#[test]
fn robust_dpo_has_the_loss_of_the_right_label_on_average() -> Result<()> {
    for (delta, label_smoothing) in [(1.3, 0.1), (-2., 0.3), (0.4, 0.45)] {
        let robust = LossType::Robust { label_smoothing };
        let mean = (1. - label_smoothing) * loss(robust, 0.7, delta)?
            + label_smoothing * loss(robust, 0.7, -delta)?;
        assert_close(mean, loss(DPO, 0.7, delta)?, 1e-12);
    }
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

#[test]
fn sums_of_log_ratios_prefer_length_and_means_do_not() {
    let (long, short) = (20. * 0.1, 10. * 0.1);
    assert_close([short, long, long / 20. - short / 10.], [1., 2., 0.], 1e-12);
}
