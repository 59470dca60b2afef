//! When checkpoints are due.

use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::Result;
use ranks::in_threads;

use crate::{Checkpoints, Run, RunCheckpoints};

#[test]
fn a_checkpoint_is_due_after_some_steps_or_some_minutes() -> Result<()> {
    let run = |save_interval, max_age| {
        let checkpoints = Checkpoints::new("nowhere".into(), NonZeroUsize::MIN);
        let checkpoints = RunCheckpoints::new(checkpoints, save_interval, "data");
        Run { checkpoints: Some(checkpoints.with_max_age(max_age)), ..Run::default() }
    };
    let young = run(200, Duration::MAX);
    assert!(young.is_save_due(200)? && !young.is_save_due(89)?);
    assert!(run(200, Duration::ZERO).is_save_due(89)?, "the newest checkpoint is old");
    assert!(!run(0, Duration::ZERO).is_save_due(89)?, "interval 0: only at the end");
    Ok(())
}

#[test]
fn a_checkpoint_is_due_on_all_ranks_by_the_clock_of_the_first() {
    for (first_age, other_age) in [(Duration::ZERO, Duration::MAX), (Duration::MAX, Duration::ZERO)]
    {
        let results = in_threads(2, |ranks| {
            let max_age = if ranks.is_first() { first_age } else { other_age };
            let checkpoints = Checkpoints::new("nowhere".into(), NonZeroUsize::MIN);
            let checkpoints = RunCheckpoints::new(checkpoints, 200, "data").with_max_age(max_age);
            Run { checkpoints: Some(checkpoints), ranks, ..Run::default() }.is_save_due(89)
        });
        for result in results {
            assert_eq!(result.unwrap(), first_age == Duration::ZERO);
        }
    }
}
