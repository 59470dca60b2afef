//! 4.5: each alarm is raised by its own condition, after enough steps, and by nothing else; a run
//! repeats it only when it has become much worse.

use anyhow::Result;

use crate::alarms::{Alarm, RaisedAlarms, TrainingAlarms};
use crate::{RunLog, RunLogConfig, StepMetrics};

const WARMUP_STEPS: usize = 10;

/// Text of the alarm of a step, if there is one.
fn check(
    alarms: &mut TrainingAlarms,
    step: usize,
    loss: f64,
    lr: f64,
    norm: f64,
) -> Option<String> {
    alarms.check(step, WARMUP_STEPS, loss, lr, norm).map(|alarm| alarm.message)
}

/// Alarms after 50 normal steps.
fn after_normal_steps() -> TrainingAlarms {
    let mut alarms = TrainingAlarms::default();
    for step in 1..=50 {
        let lr = if step < WARMUP_STEPS { step as f64 } else { 10. };
        let norm = 1. + (step as f64).sin() / 2.;
        assert_eq!(check(&mut alarms, step, 3., lr, norm), None, "step {step}");
    }
    alarms
}

#[test]
fn an_alarm_is_repeated_only_when_it_is_five_times_as_bad_also_across_a_resume() -> Result<()> {
    let mut raised = RaisedAlarms::default();
    let mut steps = Vec::new();
    for step in 1..=130 {
        // Steps 20 to 29 are healthy, which does not make the next one news.
        if (20..30).contains(&step) {
            continue;
        }
        if let Some(text) = raised.raise(step, &Alarm::new("skipped", "a step is skipped")) {
            assert!(text.starts_with(&format!("step {step}: a step is skipped")), "{text}");
            steps.push(step);
        }
        raised = serde_json::from_value(serde_json::to_value(&raised)?)?;
    }
    assert_eq!(steps, [1, 5, 35], "the 1st, 5th and 25th step with it, of 120");
    let of_kl = |kl| Alarm::new("kl", "the KL is high").with_severity(kl);
    let kls = [2., 9.9, 1., 10., 20., 49., 51.];
    let texts = kls.map(|kl| raised.raise(200, &of_kl(kl)));
    assert_eq!(
        texts.clone().map(|text| text.is_some()),
        [true, false, false, true, false, false, true]
    );
    let last = texts[6].as_deref().expect("an alarm");
    assert!(last.contains("raised before at step 200; at least 5 times as bad now"), "{last}");
    assert!(raised.raise(201, &Alarm::new("entropy", "").with_severity(f64::INFINITY)).is_some());
    let restored: RaisedAlarms = serde_json::from_value(serde_json::to_value(&raised)?)?;
    assert_eq!(restored, raised, "an infinite severity survives JSON");
    Ok(())
}

#[test]
fn a_gradient_norm_far_above_the_median_raises_an_alarm() {
    let mut alarms = after_normal_steps();
    assert_eq!(check(&mut alarms, 51, 3., 10., 5.), None);
    let alarm = alarms.check(52, WARMUP_STEPS, 3., 10., 20.).expect("an alarm");
    assert!(alarm.message.starts_with("the gradient norm is 20.000, "), "{alarm:?}");
    assert!(alarm.severity > Some(10.), "{alarm:?}");
    let mut new = TrainingAlarms::default();
    assert_eq!(check(&mut new, 1, 3., 1., 1e6), None, "too few steps for a median");
}

#[test]
fn a_gradient_norm_of_zero_raises_an_alarm() {
    let mut alarms = TrainingAlarms::default();
    let alarm = check(&mut alarms, 1, 3., 1., 0.).expect("an alarm");
    assert!(alarm.starts_with("the gradient norm is 0"), "{alarm}");
    assert_eq!(check(&mut alarms, 2, 3., 1., 1e-30), None);
}

#[test]
fn a_learning_rate_that_rises_after_the_warm_up_raises_an_alarm() {
    let mut alarms = after_normal_steps();
    let alarm = check(&mut alarms, 51, 3., 11., 1.).expect("an alarm");
    assert!(alarm.contains("rises after the warm-up"), "{alarm}");
    assert_eq!(check(&mut alarms, 52, 3., 10., 1.), None);
}

#[test]
fn the_warm_up_of_a_log_of_rewards_or_losses_raises_no_alarm() -> Result<()> {
    for config in [RunLogConfig::rewards(30, 20, 1), RunLogConfig::losses(30, 20, 1)] {
        let folder = tempfile::tempdir()?;
        let mut log = RunLog::create(config, &folder.path().join("run"), &())?;
        let rows = || std::fs::read_to_string(folder.path().join("run/metrics.jsonl"));
        let metrics = |step: usize| {
            let lr = if step == 30 { 40. } else { step.min(20) as f64 };
            StepMetrics { step, loss: 3., lr, grad_norm: 1., n_tokens: 1 }
        };
        for step in 1..30 {
            log.check(&metrics(step))?;
        }
        assert!(!rows().unwrap_or_default().contains("alarm"));
        log.check(&metrics(30))?;
        assert!(rows()?.contains("the learning rate rises after the warm-up"));
    }
    Ok(())
}

#[test]
fn a_rate_that_rounding_raises_above_its_peak_raises_no_alarm() {
    let mut alarms = TrainingAlarms::default();
    let (peak, min): (f64, f64) = (5e-3, 5e-4);
    let after_warm_up = min + (peak - min); // as a constant rate is interpolated
    assert!(after_warm_up > peak, "the example rounds up");
    assert_eq!(check(&mut alarms, 11, 3., peak, 1.), None);
    assert_eq!(check(&mut alarms, 12, 3., after_warm_up, 1.), None);
}

#[test]
fn a_non_finite_loss_is_reported_with_its_likely_cause() {
    let cause =
        |alarms: &mut TrainingAlarms, loss, norm| check(alarms, 60, loss, 10., norm).expect("one");
    assert!(cause(&mut TrainingAlarms::default(), f64::NAN, 1.).contains("it is early"));
    assert!(cause(&mut after_normal_steps(), 3., f64::NAN).contains("check the data"));
    let mut exploded = after_normal_steps();
    assert!(check(&mut exploded, 51, 3., 10., 30.).is_some());
    assert!(cause(&mut exploded, f64::INFINITY, f64::NAN).contains("the gradients grew before"));
}

#[test]
fn a_resumed_run_compares_gradients_with_those_before_it_was_stopped() -> Result<()> {
    let saved = serde_json::to_value(after_normal_steps())?;
    let mut resumed: TrainingAlarms = serde_json::from_value(saved)?;
    assert_eq!(check(&mut resumed, 51, 3., 11., 1.), None, "another schedule is no fault");
    assert!(check(&mut resumed, 52, 3., 11., 20.).is_some());
    Ok(())
}
