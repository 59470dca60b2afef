//! Chapter 7.

use anyhow::Result;
use reward::losses::bradley_terry;
use tensor_core::testing::{assert_close, assert_grad};

use super::{normal, tensor};
use crate::goodhart;
use crate::pair_loss;

fn sigmoid(x: f64) -> f64 {
    1. / (1. + (-x).exp())
}

#[test]
fn gumbel_noise_on_two_utilities_gives_the_sigmoid_of_their_difference() {
    // P(u + ε > v + ε') = ∫ f(x) F(x + u − v) dx with F(x) = exp(−exp(−x)), f its derivative.
    for difference in [-2., 0., 0.5, 3.] {
        let step = 1e-3;
        let integral: f64 = (-10_000..30_000)
            .map(|i| f64::from(i) * step)
            .map(|x| (-x - (-x).exp()).exp() * (-(-(x + difference)).exp()).exp() * step)
            .sum();
        assert_close(integral, sigmoid(difference), 1e-6);
    }
}

#[test]
fn the_loss_of_a_pair_and_its_gradient() -> Result<()> {
    let one = |chosen: f64, rejected: f64| -> Result<f64> {
        Ok(bradley_terry(&tensor(&[chosen])?, &tensor(&[rejected])?)?.to_scalar()?)
    };
    for pair in normal(20, 1).chunks_exact(2) {
        let (chosen, rejected) = (3. * pair[0], 3. * pair[1]);
        assert_close(one(chosen, rejected)?, -sigmoid(chosen - rejected).ln(), 1e-12);
        assert_close(one(chosen + 7., rejected + 7.)?, one(chosen, rejected)?, 1e-12);
        let numeric = (one(chosen + 1e-5, rejected)? - one(chosen - 1e-5, rejected)?) / 2e-5;
        assert_close(numeric, -sigmoid(rejected - chosen), 1e-8);
    }
    assert_close([one(0., 0.)?, one(2., 0.)?, one(0., 2.)?], [0.693, 0.127, 2.127], 5e-4);
    assert_close([sigmoid(-2.), sigmoid(2.)], [0.119, 0.881], 5e-4);
    Ok(assert_grad(&tensor(&[0.3, -1.])?, |x| bradley_terry(x, &x.affine(-0.5, 1.)?), 1e-6)?)
}

#[test]
fn numbers_of_elo_of_rankings_and_of_temperature() {
    // 400 points are a factor of 10 in the odds.
    assert_close(sigmoid(10f64.ln()), 0.909, 5e-4);
    let pairs = |k: u32| k * (k - 1) / 2;
    assert_eq!((pairs(4), pairs(9)), (6, 36));
    assert_close(2.5 / 3f64.sqrt(), 1.44, 5e-3);
}

#[test]
fn best_of_n_is_log_n_minus_1_plus_1_over_n_away() {
    let closed = |n: f64| n.ln() - (n - 1.) / n;
    for n in [2., 4., 16., 64.] {
        // The best of n has the density n uⁿ⁻¹ over the rank u of its score.
        let steps = 200_000;
        let integral: f64 = (0..steps)
            .map(|i| (f64::from(i) + 0.5) / f64::from(steps))
            .map(|u| (n * u.powf(n - 1.)).max(f64::MIN_POSITIVE))
            .map(|density| density * density.ln() / f64::from(steps))
            .sum();
        assert_close(integral, closed(n), 1e-4);
    }
    assert_close([closed(4.), closed(16.), closed(64.)], [0.63629, 1.83509, 3.17451], 5e-6);
}

#[test]
fn the_judges_score_rises_all_the_way_and_the_truth_turns() -> Result<()> {
    let optima = goodhart::optima()?;
    assert!(optima.windows(2).all(|pair| pair[1].proxy >= pair[0].proxy));
    let best = optima.iter().max_by(|a, b| a.truth.total_cmp(&b.truth)).expect("optima");
    let last = optima.last().expect("optima");
    assert!(best.truth > optima[0].truth + 0.1 && last.truth < optima[0].truth);
    Ok(())
}

#[test]
fn the_pull_of_a_pair_is_the_probability_of_the_wrong_choice() -> Result<()> {
    for (margin, loss) in [(-2., 2.127), (0., 0.693), (2., 0.127)] {
        let (found, pull) = pair_loss::loss_and_pull(margin)?;
        assert_close([found, pull], [loss, sigmoid(-margin)], 5e-4);
    }
    Ok(())
}
