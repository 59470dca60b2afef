//! 9.1, 9.2: what a completion is compared with.

use clap::ValueEnum;

use super::golden;
use crate::{Baseline, advantages};

fn close(ours: &[f32], theirs: &[f64], tol: f64) {
    assert_eq!(ours.len(), theirs.len());
    for (a, b) in ours.iter().zip(theirs) {
        assert!((f64::from(*a) - b).abs() <= tol * (1. + b.abs()), "{ours:?} {theirs:?}");
    }
}

#[test]
fn every_baseline_gives_what_the_formula_gives() {
    let golden = golden();
    let rewards: Vec<f32> = serde_json::from_value(golden["rewards"].clone()).expect("rewards");
    for baseline in Baseline::value_variants().iter().filter(|b| **b != Baseline::BestOfGroup) {
        let name = serde_json::to_value(baseline).expect("a name");
        let wanted = &golden["advantages"][name.as_str().expect("a name")];
        let wanted: Vec<f64> = serde_json::from_value(wanted.clone()).expect("advantages");
        let found = advantages(&rewards, 3, *baseline, 1e-4).expect("advantages");
        close(&found, &wanted, 1e-6);
    }
}

#[test]
fn the_book_s_group_has_the_book_s_advantages() {
    let found = advantages(&[2.8, 0.8, 0.2, 0.], 4, Baseline::GroupStd, 1e-4).expect("advantages");
    close(&found, &[1.445964, -0.117240, -0.586202, -0.742522], 1e-6);
}

#[test]
fn a_group_of_equals_says_nothing() {
    // 0.1 three times has a mean that is not 0.1.
    let rewards = [0.1, 0.1, 0.1, 0., 1., 0., 7., 7., 7.];
    for baseline in Baseline::value_variants() {
        let values = advantages(&rewards, 3, *baseline, 0.).expect("advantages");
        if *baseline != Baseline::BatchMean {
            assert_eq!((&values[..3], &values[6..]), (&[0.; 3][..], &[0.; 3][..]));
        }
        assert!(values.iter().all(|value| value.is_finite()));
    }
}

#[test]
fn groups_are_told_apart_by_place() {
    let both = [1., 0., 0., 1.]; // the same prompt twice, say
    let found = advantages(&both, 2, Baseline::GroupMean, 0.).expect("advantages");
    assert_eq!(found, [0.5, -0.5, -0.5, 0.5]);
}

#[test]
fn advantages_of_a_group_sum_to_nothing() {
    let rewards = [0.3, -2., 5., 1., 1., 0.5, 0.25, 8.];
    for baseline in Baseline::value_variants()
        .iter()
        .filter(|b| ![Baseline::BatchMean, Baseline::BestOfGroup].contains(b))
    {
        let found = advantages(&rewards, 4, *baseline, 1e-4).expect("advantages");
        for group in found.chunks(4) {
            assert!(group.iter().sum::<f32>().abs() < 1e-5, "{baseline:?}: {group:?}");
        }
    }
}

#[test]
fn the_best_of_a_group_is_imitated_and_nobody_else() {
    let found = advantages(&[0., 2., 2., 1., 1., 1.], 3, Baseline::BestOfGroup, 0.).expect("some");
    assert_eq!(found, [0., 1., 0., 0., 0., 0.]);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let refused = |rewards: &[f32], group| {
        advantages(rewards, group, Baseline::GroupMean, 0.).expect_err("refused").to_string()
    };
    assert!(refused(&[1., 2.], 1).contains("a group of 1 has nothing to compare"));
    assert!(refused(&[1., 2., 3.], 2).contains("no whole number of groups"));
    assert!(refused(&[1., f32::NAN], 2).contains("completion 1 is NaN"));
}
