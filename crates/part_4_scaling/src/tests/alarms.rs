//! 4.5: each alarm sounds at what it is for, once it can know, and at nothing else.

use crate::alarms::TrainingAlarms;

/// Alarms that have seen 50 calm steps.
fn calm() -> TrainingAlarms {
    let mut alarms = TrainingAlarms::new(10);
    for step in 1..=50 {
        let rate = if step < 10 { step as f64 } else { 10. };
        let norm = 1. + (step as f64).sin() / 2.;
        assert_eq!(alarms.check(step, 3., rate, norm), None, "step {step}");
    }
    alarms
}

#[test]
fn a_gradient_far_above_the_usual_is_an_explosion() {
    let mut alarms = calm();
    assert_eq!(alarms.check(51, 3., 10., 5.), None);
    let alarm = alarms.check(52, 3., 10., 20.).expect("an alarm");
    assert!(alarm.starts_with("step 52: the gradient norm is 20.000, "), "{alarm}");
    assert_eq!(TrainingAlarms::new(0).check(1, 3., 1., 1e6), None, "nothing is usual yet");
}

#[test]
fn a_rate_that_rises_after_the_warm_up_is_noticed() {
    let mut alarms = calm();
    let alarm = alarms.check(51, 3., 11., 1.).expect("an alarm");
    assert!(alarm.contains("rises after the warm-up"), "{alarm}");
    assert_eq!(alarms.check(52, 3., 10., 1.), None);
}

#[test]
fn no_number_is_told_with_its_likely_cause() {
    let cause = |alarms: &mut TrainingAlarms, loss, norm| {
        alarms.check(60, loss, 10., norm).expect("an alarm")
    };
    assert!(cause(&mut TrainingAlarms::new(10), f64::NAN, 1.).contains("it is early"));
    assert!(cause(&mut calm(), 3., f64::NAN).contains("look at the data"));
    let mut grown = calm();
    assert!(grown.check(51, 3., 10., 30.).is_some());
    assert!(cause(&mut grown, f64::INFINITY, f64::NAN).contains("the gradients grew before it"));
}
