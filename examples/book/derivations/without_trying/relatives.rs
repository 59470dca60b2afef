//! Relatives of DPO: other losses of a pair, and losses of single answers.

use anyhow::Result;
use dpo::losses::LossTotals;
use dpo::{BatchLogProbs, DpoLoss, Label, LossType};
use tensor_core::testing::assert_close;

use super::{DPO, loss, sigmoid};
use crate::derivations::{number, tensor};
use crate::dpo_losses::losses;

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
fn sums_of_log_ratios_prefer_length_and_means_do_not() {
    let (long, short) = (20. * 0.1, 10. * 0.1);
    assert_close([short, long, long / 20. - short / 10.], [1., 2., 0.], 1e-12);
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
