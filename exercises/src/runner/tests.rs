//! Bad input: code without end, a state of another version, two runners.

use std::fs;
use std::path::Path;

use super::state::State;
use super::work::lock_of;
use super::{screen, trial};

/// End of a shell script under small limits.
#[cfg(target_os = "linux")]
fn ended(script: &str) -> super::process::Ended {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::process::{Limits, run};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let limits = Limits { time: Duration::from_secs(2), memory_kib: 1 << 20, printed: 100_000 };
    run(&path, Path::new("argument"), limits).unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn a_process_is_ended_when_it_loops_or_floods_and_its_memory_is_limited() {
    assert!(ended("while :; do :; done").fault.unwrap().contains("stopped after 2 s"));
    let flood = ended("while :; do echo all work and no play; done");
    assert!(flood.fault.unwrap().contains("100000 bytes") && flood.printed.len() <= 4096);
    assert_eq!(ended("ulimit -v; echo $1").printed, "1048576\nargument\n");
    assert!(ended("exit 3").fault.unwrap().contains("exit status: 3"));
}

#[test]
fn a_state_of_another_version_or_damaged_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    assert_eq!(State::read_file(&path).unwrap().score().0, 0);
    fs::write(&path, r#"{"version": 2}"#).unwrap();
    assert!(State::read_file(&path).unwrap_err().to_string().contains("another version"));
    fs::write(&path, r#"{"version": 1, "exercises": 3}"#).unwrap();
    assert!(State::read_file(&path).unwrap_err().to_string().contains("damaged"));
}

#[test]
fn a_second_runner_is_refused_until_the_first_ends() {
    let folder = tempfile::tempdir().unwrap();
    let first = lock_of(folder.path()).unwrap();
    assert!(lock_of(folder.path()).unwrap_err().to_string().contains("another"));
    first.unlock().unwrap(); // dropped, it would last in a process that another test just forks
    lock_of(folder.path()).unwrap();
}

#[test]
fn the_compilers_first_error_is_shown_with_the_learners_path() {
    let messages = "error[E0425]: cannot find value `y`\n  \
        --> exercises/learner/src/../../work/part_0/a.rs:3:5\n\nerror[E0308]: mismatched\n  x\n\n\
        error: could not compile `learner` (bin) due to 2 previous errors\n";
    let shown = "error[E0425]: cannot find value `y`\n  --> exercises/work/part_0/a.rs:3:5\n\
        and 1 more errors";
    assert_eq!(trial::first_error(messages), shown);
}

#[test]
fn prose_is_wrapped_and_formulas_are_not() {
    let text = "one two three four\nfive\n\n    a = b        c\nsix";
    assert_eq!(screen::wrap(text, 10), "one two\nthree four\nfive\n\n    a = b        c\nsix");
    let state = State::default();
    for entry in crate::course::exercises() {
        let row = screen::row(&state, entry);
        assert!(row.chars().count() <= 60, "{row}");
    }
}
