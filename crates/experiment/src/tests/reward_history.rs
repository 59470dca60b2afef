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
fn without_a_known_maximum_the_highest_reward_of_the_run_is_told_apart_from_the_others() {
    assert_eq!(level(&[&[3., 3.], &[3., 3.]], None), Some(Level::Lower), "a constant reward");
    assert_eq!(level(&[&[1., 2.], &[2., 2.]], None), Some(Level::HighestOfRun));
    assert_eq!(level(&[&[1., 2.], &[1., 1.]], None), Some(Level::Lower));
    assert_eq!(level(&[&[1., 2.], &[1.5, 1.5]], None), Some(Level::Lower));
}

#[test]
fn a_run_is_solved_after_enough_steps_and_completions_in_a_row() {
    let ones = [1.; 40];
    let mut progress = TrainProgress { step: 8, ..TrainProgress::default() };
    let record = |progress: &mut TrainProgress, rewards: &[f64]| {
        progress.rewards.record(rewards, Some(1.));
        progress.final_plateau(Some(8)).map(|plateau| (plateau.n_steps, plateau.n_completions))
    };
    for _ in 1..8 {
        assert_eq!(record(&mut progress, &ones), None);
    }
    assert_eq!(record(&mut progress, &ones), Some((8, 320)));
    assert!(progress.is_finished(100, None, Some(8)), "solved");
    assert!(!progress.is_finished(100, None, None), "--stop-when-solved 0");
    let plateau = progress.final_plateau(Some(8)).expect("a plateau");
    assert!(plateau.is_solved());
    assert_eq!(
        plateau.end_message(8, 100),
        "solved at step 8 of 100: all 320 completions of the last 8 steps got the highest reward, \
         1; at 95 % confidence fewer than 0.94 % do not"
    );

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
fn a_plateau_without_a_known_maximum_ends_a_run_that_is_not_called_solved() {
    let mut progress = TrainProgress::default();
    progress.rewards.record(&[-1., 2.5], None);
    for _ in 1..4 {
        progress.rewards.record(&[2.5; 100], None);
    }
    let plateau = progress.final_plateau(Some(3)).expect("a plateau");
    assert!(progress.is_finished(100, None, Some(3)) && !plateau.is_solved());
    assert_eq!(plateau.alarm(), None, "the run has climbed there");
    assert_eq!(
        plateau.end_message(4, 100),
        "nothing left to learn at step 4 of 100: all 300 completions of the last 3 steps got 2.5, \
         the highest reward of the run (a higher one may exist); at 95 % confidence fewer than \
         1.00 % do not"
    );
    let mut constant = TrainProgress::default();
    (0..9).for_each(|_| constant.rewards.record(&[2.5; 100], None));
    assert_eq!(constant.final_plateau(Some(3)), None, "the run has learned nothing yet");
    assert!(constant.rewards.plateau.as_ref().and_then(Plateau::alarm).is_some());
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
