//! 8.5: a plateau of the rewards is told apart by where it is, and ends a run at the top alone.

use crate::reward_history::{Level, Plateau, RewardHistory};
use crate::{TrainProgress, alarms::Alarm};

/// History after steps with these rewards.
fn after(steps: &[&[f64]], max_reward: Option<f64>) -> RewardHistory {
    let mut history = RewardHistory::default();
    steps.iter().for_each(|rewards| history.record(rewards, max_reward));
    history
}

fn level(steps: &[&[f64]], max_reward: Option<f64>) -> Option<Level> {
    after(steps, max_reward).plateau.map(|plateau| plateau.level)
}

#[test]
fn a_plateau_at_the_known_maximum_is_the_highest_and_below_it_is_not() {
    assert_eq!(level(&[&[1., 1.]], Some(1.)), Some(Level::Highest));
    assert_eq!(level(&[&[0., 1.], &[0.5, 0.5]], Some(1.)), Some(Level::Lower));
    assert_eq!(level(&[&[0., 1.]], Some(1.)), None);
    assert_eq!(level(&[&[1., 1.], &[]], Some(1.)), None, "a step without rewards");
    let rounded = f64::from(0.2f32 + 0.2 + 0.2 + 0.2); // 0.800000012
    assert_eq!(level(&[&[rounded]], Some(0.8)), Some(Level::Highest));
}

#[test]
fn without_a_known_maximum_the_highest_reward_of_the_run_counts_if_there_were_lower_ones() {
    assert_eq!(level(&[&[3., 3.], &[3., 3.]], None), Some(Level::Lower), "a constant reward");
    assert_eq!(level(&[&[1., 2.], &[2., 2.]], None), Some(Level::Highest));
    assert_eq!(level(&[&[1., 2.], &[1., 1.]], None), Some(Level::Lower));
    assert_eq!(level(&[&[1., 2.], &[1.5, 1.5]], None), Some(Level::Lower));
}

#[test]
fn a_run_is_solved_after_enough_steps_and_completions_in_a_row() {
    let ones = [1.; 40];
    let mut progress = TrainProgress { step: 8, ..TrainProgress::default() };
    let record = |progress: &mut TrainProgress, rewards: &[f64]| {
        progress.rewards.record(rewards, Some(1.));
        progress.solved(Some(8)).map(|plateau| (plateau.n_steps, plateau.n_completions))
    };
    for _ in 1..8 {
        assert_eq!(record(&mut progress, &ones), None);
    }
    assert_eq!(record(&mut progress, &ones), Some((8, 320)));
    assert!(progress.is_finished(100, None, Some(8)), "solved");
    assert!(!progress.is_finished(100, None, None), "--stop-when-solved 0");
    let text = progress.solved(Some(8)).expect("a plateau").to_string();
    assert!(text.contains("all 320 completions of the last 8 steps") && text.contains("0.94 %"));

    let mut almost = [1.; 40];
    almost[17] = 0.;
    assert_eq!(record(&mut progress, &almost), None, "one failure, and the count begins anew");
    for _ in 1..8 {
        assert_eq!(record(&mut progress, &ones), None);
    }
    let restored: TrainProgress =
        serde_json::from_value(serde_json::to_value(&progress).expect("JSON")).expect("progress");
    assert_eq!(restored, progress);
    assert_eq!(record(&mut progress, &ones), Some((8, 320)));

    let mut few = TrainProgress::default();
    let solved: Vec<usize> = (1..=100).filter(|_| record(&mut few, &[1.; 4]).is_some()).collect();
    assert_eq!(solved.first(), Some(&75), "8 steps of 4 completions say little: 300 are needed");
}

#[test]
fn an_equal_lower_reward_never_ends_a_run_and_names_what_to_check() {
    let zeros = [0.; 400];
    let mut progress = TrainProgress::default();
    (0..50).for_each(|_| progress.rewards.record(&zeros, Some(1.)));
    assert!(!progress.is_finished(100, None, Some(1)));
    let alarm = progress.rewards.plateau.as_ref().and_then(Plateau::alarm);
    let Alarm { severity, message, .. } = alarm.expect("an alarm");
    assert_eq!(severity, Some(50.));
    for part in [
        "20000 completions of 50 steps got the reward 0,",
        "--template",
        "--temperature",
        "--max-new-tokens",
        "--reward",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let top = after(&[&[1., 1.]], Some(1.)).plateau.expect("a plateau");
    assert_eq!(top.alarm(), None, "the highest reward is no problem");
}
