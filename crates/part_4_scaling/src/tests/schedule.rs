//! Rates: worked examples, and what holds for all of them.

use proptest::prelude::*;

use crate::schedule::{DecayShape, LrSchedule};

fn schedule(decay: DecayShape) -> LrSchedule {
    LrSchedule { peak_lr: 1e-3, min_lr: 0., warmup_steps: 10, total_steps: 110, decay }
}

fn assert_rate(schedule: &LrSchedule, n: usize, expected: f64) {
    let rate = schedule.lr_at(n);
    assert!((rate - expected).abs() < 5e-9, "step {n}: {rate}, expected {expected}");
}

#[test]
fn warm_up_and_cosine_as_worked_out_by_hand() {
    // ½ · 10⁻³ · (1 + cos(π k / 100)) for k = 1, 25, 50, 75, 100 after ten steps of warm-up.
    for (n, expected) in [
        (1, 1e-4),
        (5, 5e-4),
        (10, 1e-3),
        (11, 9.99753e-4),
        (35, 8.53553e-4),
        (60, 5e-4),
        (85, 1.46447e-4),
        (110, 0.),
    ] {
        assert_rate(&schedule(DecayShape::Cosine), n, expected);
    }
}

#[test]
fn the_stable_rate_falls_over_the_last_fifth() {
    for (n, expected) in [(10, 1e-3), (11, 1e-3), (88, 1e-3), (99, 5e-4), (110, 0.)] {
        assert_rate(&schedule(DecayShape::WarmupStableDecay), n, expected);
    }
}

#[test]
fn after_the_end_the_rate_stays_at_the_floor() {
    for decay in [DecayShape::Cosine, DecayShape::WarmupStableDecay] {
        let schedule = LrSchedule { min_lr: 1e-5, ..schedule(decay) };
        for n in [110, 111, 140, 210, 100_000] {
            assert_rate(&schedule, n, 1e-5);
        }
    }
}

proptest! {
    #[test]
    fn the_rate_rises_to_the_peak_and_never_rises_again(
        warmup in 0usize..50, steps in 1usize..200, share in 0f64..1., cosine: bool,
    ) {
        let decay = if cosine { DecayShape::Cosine } else { DecayShape::WarmupStableDecay };
        let (peak, total) = (3e-4, warmup + steps);
        let schedule = LrSchedule { peak_lr: peak, min_lr: share * peak, warmup_steps: warmup, total_steps: total, decay };
        let rates: Vec<f64> = (1..=total + 10).map(|n| schedule.lr_at(n)).collect();
        let top = rates.iter().copied().fold(0., f64::max);
        prop_assert!(rates.iter().all(|&rate| rate > 0. || share == 0.));
        prop_assert!((top - peak).abs() < 1e-12 || warmup == 0);
        let (up, down) = rates.split_at(warmup.max(1));
        prop_assert!(up.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert!(down.windows(2).all(|pair| pair[0] >= pair[1]));
        prop_assert!((rates[total + 9] - schedule.min_lr).abs() < 1e-15);
    }
}
