//! 4.3: learning rates worked out by hand, and invariants of all schedules.

use proptest::prelude::*;
use tensor_core::testing::assert_close;

use crate::schedule::{DecayShape, LrSchedule};

fn schedule(decay: DecayShape) -> LrSchedule {
    LrSchedule { peak_lr: 1e-3, min_lr: 0., warmup_steps: 10, total_steps: 110, decay }
}

fn assert_lr(schedule: &LrSchedule, n: usize, expected: f64) {
    let lr = schedule.lr_at(n);
    assert_close(lr, expected, 5e-9);
}

#[test]
fn warm_up_and_cosine_match_values_worked_out_by_hand() {
    // ½ · 10⁻³ · (1 + cos(π k / 100)) for k = 1, 25, 50, 75, 100, after ten warm-up steps.
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
        assert_lr(&schedule(DecayShape::Cosine), n, expected);
    }
}

#[test]
fn warmup_stable_decay_falls_linearly_over_the_last_fifth() {
    for (n, expected) in [(10, 1e-3), (11, 1e-3), (88, 1e-3), (99, 5e-4), (110, 0.)] {
        assert_lr(&schedule(DecayShape::WarmupStableDecay), n, expected);
    }
}

#[test]
fn linear_decay_falls_from_the_end_of_the_warm_up() {
    for (n, expected) in [(5, 5e-4), (10, 1e-3), (60, 5e-4), (85, 2.5e-4), (110, 0.)] {
        assert_lr(&schedule(DecayShape::Linear), n, expected);
    }
}

#[test]
fn the_learning_rate_stays_at_the_minimum_after_the_last_step() {
    for decay in [DecayShape::Cosine, DecayShape::WarmupStableDecay] {
        let schedule = LrSchedule { min_lr: 1e-5, ..schedule(decay) };
        for n in [110, 111, 140, 210, 100_000] {
            assert_lr(&schedule, n, 1e-5);
        }
    }
}

proptest! {
    #[test]
    fn the_learning_rate_rises_to_its_peak_and_never_rises_again(
        warmup_steps in 0usize..50, steps in 1usize..200, min_ratio in 0f64..1., cosine: bool,
    ) {
        let decay = if cosine { DecayShape::Cosine } else { DecayShape::WarmupStableDecay };
        let (peak_lr, total_steps) = (3e-4, warmup_steps + steps);
        let min_lr = min_ratio * peak_lr;
        let schedule = LrSchedule { peak_lr, min_lr, warmup_steps, total_steps, decay };
        let lrs: Vec<f64> = (1..=total_steps + 10).map(|n| schedule.lr_at(n)).collect();
        let max_lr = lrs.iter().copied().fold(0., f64::max);
        prop_assert!(lrs.iter().all(|&lr| lr > 0. || min_ratio == 0.));
        prop_assert!((max_lr - peak_lr).abs() < 1e-12 || warmup_steps == 0);
        let (up, down) = lrs.split_at(warmup_steps.max(1));
        prop_assert!(up.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert!(down.windows(2).all(|pair| pair[0] >= pair[1]));
        prop_assert!((lrs[total_steps + 9] - min_lr).abs() < 1e-15);
    }
}
