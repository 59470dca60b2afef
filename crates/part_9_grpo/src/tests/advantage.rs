//! 9.1, 9.2: advantages by baseline.

use clap::ValueEnum;
use tensor_core::testing::assert_close;

use super::golden;
use crate::Baseline;

/// Advantages without a moving average.
fn advantages(
    rewards: &[f32],
    group_size: usize,
    baseline: Baseline,
    epsilon: f64,
) -> candle_core::Result<Vec<f32>> {
    crate::advantages(rewards, group_size, baseline, epsilon, 0.)
}

#[test]
fn every_baseline_matches_its_formula() {
    let golden = golden();
    let rewards: Vec<f32> = serde_json::from_value(golden["rewards"].clone()).expect("rewards");
    let others = [Baseline::BestOfGroup, Baseline::MovingAverage];
    for baseline in Baseline::value_variants().iter().filter(|b| !others.contains(b)) {
        let name = serde_json::to_value(baseline).expect("a name");
        let expected = &golden["advantages"][name.as_str().expect("a name")];
        let expected: Vec<f64> = serde_json::from_value(expected.clone()).expect("advantages");
        let advantages = advantages(&rewards, 3, *baseline, 1e-4).expect("advantages");
        assert_close(&advantages, &expected, 1e-6);
    }
}

#[test]
fn the_example_of_the_book_has_the_advantages_of_the_book() {
    let ours = advantages(&[2.8, 0.8, 0.2, 0.], 4, Baseline::GroupStd, 1e-4).expect("advantages");
    assert_close(&ours, [1.445964, -0.117240, -0.586202, -0.742522], 1e-6);
}

/// One right completion of four, beside tied groups: its weight from the batch's deviation grows as
/// the square root of their number, while its group's deviation gives 0.75 / 0.5.
#[test]
fn ties_enlarge_the_advantages_of_a_global_z_score() {
    for (n_tied, expected) in [(0, 1.5), (1, 2.291288), (7, 4.821825), (63, 13.829317)] {
        let mut rewards = vec![1., 0., 0., 0.];
        rewards.resize(4 + 4 * n_tied, 1.);
        let of = |baseline| advantages(&rewards, 4, baseline, 0.).expect("advantages");
        let scaled = of(Baseline::GroupMeanBatchStd);
        assert_close(&scaled[..2], [expected, -expected / 3.], 1e-5);
        assert!(scaled[4..].iter().all(|a| *a == 0.), "a tie still says nothing");
        assert_close(&of(Baseline::GroupStd)[..2], [1.5, -0.5], 1e-6);
    }
}

#[test]
fn equal_rewards_in_a_group_give_advantages_of_0() {
    // In f32, the mean of three times 0.1 differs from 0.1.
    let rewards = [0.1, 0.1, 0.1, 0., 1., 0., 7., 7., 7.];
    for baseline in Baseline::value_variants() {
        let values = advantages(&rewards, 3, *baseline, 0.).expect("advantages");
        if baseline.is_of_group() {
            assert_eq!((&values[..3], &values[6..]), (&[0.; 3][..], &[0.; 3][..]));
        }
        assert!(values.iter().all(|value| value.is_finite()));
    }
}

#[test]
fn groups_are_identified_by_position_not_by_prompt() {
    let rewards = [1., 0., 0., 1.]; // two groups, which may have the same prompt
    let values = advantages(&rewards, 2, Baseline::GroupMean, 0.).expect("advantages");
    assert_eq!(values, [0.5, -0.5, -0.5, 0.5]);
}

#[test]
fn advantages_of_a_group_sum_to_0() {
    let rewards = [0.3, -2., 5., 1., 1., 0.5, 0.25, 8.];
    for baseline in Baseline::value_variants()
        .iter()
        .filter(|b| b.is_of_group() && **b != Baseline::BestOfGroup)
    {
        let values = advantages(&rewards, 4, *baseline, 1e-4).expect("advantages");
        for group in values.chunks(4) {
            assert_close(group.iter().sum::<f32>(), 0., 1e-5);
        }
    }
}

#[test]
fn best_of_n_gives_1_to_the_best_completion_and_0_to_the_others() {
    let values = advantages(&[0., 2., 2., 1., 1., 1.], 3, Baseline::BestOfGroup, 0.).expect("some");
    assert_eq!(values, [0., 1., 0., 0., 0., 0.]);
}

#[test]
fn a_moving_average_is_subtracted_from_every_reward() {
    let values = crate::advantages(&[1., 0., 1.], 1, Baseline::MovingAverage, 0., 0.25);
    assert_eq!(values.expect("groups of one are allowed"), [0.75, -0.25, 0.75]);
    let mut progress = crate::GrpoProgress::default();
    assert_eq!(progress.mean_reward(), 0., "before the first step");
    progress.add_rewards(&[1., 0.]);
    progress.add_rewards(&[1., 1., 1., 0.]);
    assert_eq!(progress.mean_reward(), 4. / 6., "the mean over completions, not over steps");
}

#[test]
fn invalid_groups_and_rewards_are_refused() {
    let error = |rewards: &[f32], group| {
        advantages(rewards, group, Baseline::GroupMean, 0.).expect_err("refused").to_string()
    };
    assert!(error(&[1., 2.], 1).contains("a group of 1 leaves nothing to compare"));
    assert!(error(&[1., 2., 3.], 2).contains("cannot be split into groups"));
    assert!(error(&[1., f32::NAN], 2).contains("completion 1 is NaN"));
}
