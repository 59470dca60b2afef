//! Interruptions of a run: SIGKILL, SIGINT, SIGTERM and a full disk.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tensor_core::Rng;

use crate::{PART_4, Runs, steps};

#[test]
fn a_run_killed_thirty_times_loses_at_most_one_step_each_time() {
    let runs = Runs::new();
    let flags = ["--steps", "400", "--save-interval", "1", "--dropout", "0.1"];
    runs.train("uninterrupted", &flags);
    let mut rng = Rng::new(1);
    let folder = runs.out("killed/checkpoints");
    let (mut saved, mut n_lost, mut min_saved) = (0, 0, 0);
    for kill in 0..30 {
        let has_started = Path::new(&folder).exists();
        let flags = if has_started { [&flags[..], &["--resume"]].concat() } else { flags.to_vec() };
        let mut child = runs.start("killed", &flags);
        // Every other run is killed after some steps, the others at a random time after the start.
        let target_step = saved + 3 + rng.below(4) as u64;
        if kill % 2 == 0 {
            min_saved = target_step - 1; // all steps but the last are saved by then
        }
        while kill % 2 == 0
            && runs.last_row("killed") < target_step
            && child.try_wait().expect("a status").is_none()
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(rng.below(60) as u64));
        child.kill().expect("killed"); // SIGKILL
        child.wait().expect("a status");
        let (taken, saved_before) = (runs.last_row("killed"), saved);
        saved = steps(&folder).into_iter().max().unwrap_or(0);
        assert!(saved + 1 >= taken, "step {taken} was taken but only {saved} was saved");
        assert!(saved >= saved_before.max(min_saved), "checkpoints are kept");
        n_lost += usize::from(saved < taken);
    }
    assert!(saved >= 30, "{saved} steps in 30 starts, {n_lost} of them lost and repeated");
    let flags = [&flags[..], &["--resume"]].concat();
    runs.train("killed", &flags);
    runs.assert_same(["uninterrupted", "killed"], 400);
}

#[cfg(unix)]
#[test]
fn a_signal_saves_a_checkpoint_and_the_resumed_run_is_identical() {
    let runs = Runs::new();
    let flags = ["--steps", "300", "--save-interval", "0"];
    runs.train("uninterrupted", &flags);
    for (name, signal) in [("int", "-INT"), ("term", "-TERM")] {
        let mut child = runs.start(name, &flags);
        while !Path::new(&runs.out(name)).join("metrics.jsonl").exists()
            || runs.rows(name).len() < 9
        {
            std::thread::sleep(Duration::from_millis(5));
            assert!(
                child.try_wait().expect("a status").is_none(),
                "the run ended before the signal"
            );
        }
        let id = child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().expect("kill").success());
        assert!(child.wait().expect("a status").success(), "{signal} exits with status 0");
        let stopped = steps(&runs.out(&format!("{name}/checkpoints")));
        assert!(stopped.len() == 1 && stopped[0] < 300, "{stopped:?}");
        runs.train(name, &[&flags[..], &["--resume"]].concat());
        runs.assert_same(["uninterrupted", name], 300);
    }
}

#[cfg(unix)]
#[test]
fn a_full_disk_keeps_the_previous_checkpoint_and_reports_it() {
    let runs = Runs::new();
    let flags = ["--steps", "12", "--save-interval", "4"];
    runs.train("uninterrupted", &flags);
    runs.train("full", &[&flags[..], &["--stop-after", "4"]].concat());
    let out = runs.out("full");
    let resume = [&runs.args(&out, &flags)[..], &["--resume"]].concat();
    // Simulates a full disk: files are limited to 16 or 32 KiB, less than the weights.
    let limited = Command::new("sh")
        .args(["-c", r#"ulimit -f 32; exec "$@""#, "sh", PART_4.0])
        .args(&resume)
        .output()
        .expect("a shell");
    let error = String::from_utf8_lossy(&limited.stderr);
    let error = error.lines().last().unwrap_or_default();
    assert_eq!(limited.status.code(), Some(1), "{error}");
    let message = "the checkpoint of step 8 was not saved; --resume continues from step 4";
    assert!(error.contains(message) && error.contains("model.safetensors"), "{error}");
    assert_eq!(steps(&format!("{out}/checkpoints")), [4]);
    PART_4.stdout(&resume);
    runs.assert_same(["uninterrupted", "full"], 12);
}
