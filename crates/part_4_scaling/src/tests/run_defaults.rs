//! 4.3: what a run's flags leave open follows its model and its data.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::{Args, Command, FromArgMatches};

use crate::flags::{OptimizationFlags, ScheduleFlags};
use crate::run_defaults::{DefaultLength, DefaultLr, RunDefaults};
use crate::schedule::DecayShape;

const LENGTH: DefaultLength =
    DefaultLength { epochs: 3., min_steps: 50, max_steps: 3000, max_eval_interval: 200 };

fn defaults(steps_per_epoch: f64) -> RunDefaults {
    RunDefaults { lr: 1e-3, steps_per_epoch, length: LENGTH }
}

fn flags(args: &str) -> ScheduleFlags {
    let command = ScheduleFlags::augment_args(Command::new("train").no_binary_name(true));
    let matches = command.try_get_matches_from(args.split_whitespace()).expect("valid flags");
    ScheduleFlags::from_arg_matches(&matches).expect("all flags")
}

#[test]
fn small_data_get_few_epochs_and_large_data_few_steps() {
    assert_eq!(defaults(34.).steps(None), 102, "300 rows in batches of 8: 3 epochs, not 711");
    assert_eq!(defaults(3125.).steps(None), 3000, "200,000 rows in batches of 64: one epoch");
    assert_eq!(defaults(2.).steps(None), 50, "a run of six steps would learn nothing");
    assert_eq!(defaults(34.).steps(Some(0.5)), 17);
    let fixed = RunDefaults { length: DefaultLength::steps(60, 20), ..defaults(2.) };
    assert_eq!((fixed.steps(None), fixed.steps(Some(5.))), (60, 10));
}

#[test]
fn an_epoch_ends_with_its_last_batch_however_small() {
    let steps = |args: &str, n_batches: usize, epochs| {
        let command = OptimizationFlags::augment_args(Command::new("train").no_binary_name(true));
        let matches = command.try_get_matches_from(args.split_whitespace()).expect("valid flags");
        let flags = OptimizationFlags::from_arg_matches(&matches).expect("all flags");
        defaults(flags.steps_per_epoch(n_batches as f64)).steps(Some(epochs))
    };
    assert_eq!(steps("", 70_usize.div_ceil(64), 10.), 20, "70 rows in batches of 64");
    assert_eq!(steps("", 3, 0.5), 2, "one and a half, and a run has whole steps");
    let accumulated = "--grad-accum-steps 2";
    assert_eq!(steps(accumulated, 3, 10.), 15, "the next epoch begins within a step");
    assert_eq!(steps(accumulated, 3, 1.), 2);
}

#[test]
fn validations_come_twice_an_epoch_but_not_all_the_time() {
    assert_eq!(defaults(34.).eval_interval(102), 17);
    assert_eq!(defaults(34.).eval_interval(3000), 150, "twenty validations");
    assert_eq!(defaults(3125.).eval_interval(3000), 200);
    assert_eq!(defaults(1.).eval_interval(1), 1);
}

#[test]
fn the_learning_rate_follows_the_size_of_the_model_and_what_is_trained() {
    let lr = DefaultLr { small: 4., small_lora: 3., pretrained: 1., pretrained_lora: 2. };
    let rates = [(5e5, false), (5e5, true), (1.35e8, false), (1.35e8, true)];
    assert_eq!(
        rates.map(|(n, adapters)| lr.of(n, adapters.then_some(NonZeroUsize::MIN))),
        [4., 3., 1., 2.]
    );
}

#[test]
fn under_transformers_name_a_schedule_has_its_defaults() -> Result<()> {
    let schedule = |args: &str| flags(args).schedule(&defaults(34.));
    let ends = |args: &str| -> Result<(DecayShape, usize, f64, f64)> {
        let schedule = schedule(args)?;
        let [first, last] = [1, schedule.total_steps].map(|step| schedule.lr_at(step));
        Ok((schedule.decay, schedule.warmup_steps, first, last))
    };
    let ours = ends("--lr-scheduler linear")?;
    assert_eq!((ours.0, ours.1), (DecayShape::Linear, 5));
    assert!(ours.2 < 1e-3 && (ours.3 - 1e-4).abs() < 1e-12, "{ours:?}");
    for (name, decay, last) in [
        ("linear", DecayShape::Linear, 0.),
        ("cosine", DecayShape::Cosine, 0.),
        ("constant", DecayShape::Constant, 1e-3),
    ] {
        let theirs = ends(&format!("--lr-scheduler-type {name}"))?;
        assert_eq!((theirs.0, theirs.1, theirs.2), (decay, 0, 1e-3), "{name}");
        assert!((theirs.3 - last).abs() < 1e-12, "{name}: {theirs:?}");
    }
    let given = schedule("--lr-scheduler-type linear --min-lr 1e-5 --warmup-ratio 0.1")?;
    assert_eq!((given.min_lr, given.warmup_steps), (1e-5, 11));
    // The last one counts, so that a flag replaces that of a file.
    let last = schedule("--lr-scheduler-type linear --lr-scheduler constant")?;
    assert_eq!((last.decay, last.warmup_steps), (DecayShape::Constant, 5));
    let last = schedule("--lr-scheduler constant --lr-scheduler-type linear")?;
    assert_eq!((last.decay, last.warmup_steps), (DecayShape::Linear, 0));
    Ok(())
}

#[test]
fn flags_win_over_defaults_and_warm_up_is_a_share_of_the_steps() -> Result<()> {
    let schedule = flags("").schedule(&defaults(34.))?;
    let total = (schedule.total_steps, schedule.warmup_steps, schedule.peak_lr);
    assert_eq!(total, (102, 5, 1e-3));
    let schedule = flags("--epochs 10 --lr 0.5 --warmup-ratio 0.1").schedule(&defaults(34.))?;
    let total = (schedule.total_steps, schedule.warmup_steps, schedule.peak_lr);
    assert_eq!(total, (340, 34, 0.5));
    assert_eq!(flags("--steps 2 --warmup-ratio 0.02").schedule(&defaults(34.))?.warmup_steps, 1);
    for contradiction in ["--lr 1e-3 --min-lr 2e-3", "--steps 3 --warmup-steps 10"] {
        assert!(
            flags(contradiction).check(None).is_err(),
            "{contradiction}: before the data are read"
        );
    }
    assert!(flags("--min-lr 2e-3 --warmup-steps 10").check(None).is_ok(), "it depends on the data");
    let error = flags("--warmup-steps 900").schedule(&defaults(34.)).unwrap_err().to_string();
    assert_eq!(error, "--warmup-steps 900 is more than the 102 steps of the run");
    Ok(())
}
