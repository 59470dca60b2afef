//! When checkpoints are due.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::{Checkpoints, Run, RunCheckpoints};

#[test]
fn a_checkpoint_is_due_after_some_steps_or_some_minutes() {
    let run = |save_interval, max_age| {
        let checkpoints = Checkpoints::new("nowhere".into(), NonZeroUsize::MIN);
        let checkpoints = RunCheckpoints::new(checkpoints, save_interval, "data");
        Run { checkpoints: Some(checkpoints.with_max_age(max_age)), ..Run::default() }
    };
    let young = run(200, Duration::MAX);
    assert!(young.is_save_due(200) && !young.is_save_due(89));
    assert!(run(200, Duration::ZERO).is_save_due(89), "the newest checkpoint is old");
    assert!(!run(0, Duration::ZERO).is_save_due(89), "interval 0: only at the end");
}
