//! 4.5: each alarm is raised by its own condition, after enough steps, and by nothing else.

use crate::alarms::TrainingAlarms;

/// Alarms after 50 normal steps.
fn after_normal_steps() -> TrainingAlarms {
    let mut alarms = TrainingAlarms::new(10);
    for step in 1..=50 {
        let lr = if step < 10 { step as f64 } else { 10. };
        let norm = 1. + (step as f64).sin() / 2.;
        assert_eq!(alarms.check(step, 3., lr, norm), None, "step {step}");
    }
    alarms
}

#[test]
fn a_gradient_norm_far_above_the_median_raises_an_alarm() {
    let mut alarms = after_normal_steps();
    assert_eq!(alarms.check(51, 3., 10., 5.), None);
    let alarm = alarms.check(52, 3., 10., 20.).expect("an alarm");
    assert!(alarm.starts_with("step 52: the gradient norm is 20.000, "), "{alarm}");
    assert_eq!(TrainingAlarms::new(0).check(1, 3., 1., 1e6), None, "too few steps for a median");
}

#[test]
fn a_gradient_norm_of_zero_raises_one_alarm_until_it_has_passed() {
    let mut alarms = TrainingAlarms::new(0);
    let alarm = alarms.check(1, 3., 1., 0.).expect("an alarm");
    assert!(alarm.starts_with("step 1: the gradient norm is 0"), "{alarm}");
    assert_eq!(alarms.check(2, 3., 1., 0.), None);
    assert_eq!(alarms.check(3, 3., 1., 1e-30), None);
    assert!(alarms.check(4, 3., 1., 0.).is_some());
}

#[test]
fn a_learning_rate_that_rises_after_the_warm_up_raises_an_alarm() {
    let mut alarms = after_normal_steps();
    let alarm = alarms.check(51, 3., 11., 1.).expect("an alarm");
    assert!(alarm.contains("rises after the warm-up"), "{alarm}");
    assert_eq!(alarms.check(52, 3., 10., 1.), None);
}

#[test]
fn a_rate_that_rounding_raises_above_its_peak_raises_no_alarm() {
    let mut alarms = TrainingAlarms::new(1);
    let (peak, min): (f64, f64) = (5e-3, 5e-4);
    let after_warm_up = min + (peak - min); // as a constant rate is interpolated
    assert!(after_warm_up > peak, "the example rounds up");
    assert_eq!(alarms.check(1, 3., peak, 1.), None);
    assert_eq!(alarms.check(2, 3., after_warm_up, 1.), None);
}

#[test]
fn a_non_finite_loss_is_reported_with_its_likely_cause() {
    let cause = |alarms: &mut TrainingAlarms, loss, norm| {
        alarms.check(60, loss, 10., norm).expect("an alarm")
    };
    assert!(cause(&mut TrainingAlarms::new(10), f64::NAN, 1.).contains("it is early"));
    assert!(cause(&mut after_normal_steps(), 3., f64::NAN).contains("check the data"));
    let mut exploded = after_normal_steps();
    assert!(exploded.check(51, 3., 10., 30.).is_some());
    assert!(cause(&mut exploded, f64::INFINITY, f64::NAN).contains("the gradients grew before"));
}
