//! What ends a run before its time: a kill, a signal, a full disk.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tensor_core::Rng;

use crate::{PART_4, Runs, steps};

#[test]
fn a_run_that_is_killed_thirty_times_loses_a_step_at_most_each_time() {
    let runs = Runs::new();
    let flags = ["--steps", "400", "--save-interval", "1", "--dropout", "0.1"];
    runs.train("whole", &flags);
    let mut rng = Rng::new(1);
    let folder = runs.out("killed/checkpoints");
    let (mut saved, mut lost, mut least) = (0, 0, 0);
    for kill in 0..30 {
        let begun = Path::new(&folder).exists();
        let flags = if begun { [&flags[..], &["--resume"]].concat() } else { flags.to_vec() };
        let mut child = runs.start("killed", &flags);
        // Every other time once it has taken some steps, else at any moment after its start.
        let wanted = saved + 3 + rng.below(4) as u64;
        if kill % 2 == 0 {
            least = wanted - 1; // all but the last are saved by then
        }
        while kill % 2 == 0
            && runs.last_row("killed") < wanted
            && child.try_wait().expect("a status").is_none()
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(rng.below(60) as u64));
        child.kill().expect("it is killed"); // SIGKILL
        child.wait().expect("it is gone");
        let (taken, before) = (runs.last_row("killed"), saved);
        saved = steps(&folder).into_iter().max().unwrap_or(0);
        assert!(saved + 1 >= taken, "step {taken} was taken, and {saved} was saved");
        assert!(saved >= before.max(least), "what was saved is kept");
        lost += usize::from(saved < taken);
    }
    assert!(saved >= 30, "{saved} steps in 30 pieces, {lost} of them lost and taken again");
    let flags = [&flags[..], &["--resume"]].concat();
    runs.train("killed", &flags);
    runs.assert_same(["whole", "killed"], 400);
}

#[cfg(unix)]
#[test]
fn a_signal_saves_and_ends_well_and_the_run_goes_on_as_if_nothing_had_been() {
    let runs = Runs::new();
    let flags = ["--steps", "300", "--save-interval", "0"];
    runs.train("whole", &flags);
    for (name, signal) in [("int", "-INT"), ("term", "-TERM")] {
        let mut child = runs.start(name, &flags);
        while !Path::new(&runs.out(name)).join("metrics.jsonl").exists()
            || runs.rows(name).len() < 9
        {
            std::thread::sleep(Duration::from_millis(5));
            assert!(child.try_wait().expect("a status").is_none(), "it ended before the signal");
        }
        let id = child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().expect("kill").success());
        assert!(child.wait().expect("it ends").success(), "{signal} is no failure");
        let stopped = steps(&runs.out(&format!("{name}/checkpoints")));
        assert!(stopped.len() == 1 && stopped[0] < 300, "{stopped:?}");
        runs.train(name, &[&flags[..], &["--resume"]].concat());
        runs.assert_same(["whole", name], 300);
    }
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_checkpoint_before_and_says_so() {
    let runs = Runs::new();
    let flags = ["--steps", "12", "--save-interval", "4"];
    runs.train("whole", &flags);
    runs.train("full", &[&flags[..], &["--stop-after", "4"]].concat());
    let out = runs.out("full");
    let resume = [&runs.args(&out, &flags)[..], &["--resume"]].concat();
    // No file may grow past 16 or 32 KiB, as if the disk were full; the weights alone have more.
    let limited = Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; ulimit -f 32; exec "$@""#, "sh", PART_4.0])
        .args(&resume)
        .output()
        .expect("a shell");
    let error = String::from_utf8_lossy(&limited.stderr);
    let error = error.lines().last().unwrap_or_default();
    assert_eq!(limited.status.code(), Some(1), "{error}");
    let told = "the checkpoint of step 8 was not saved; the one of step 4 is whole: --resume continues there";
    assert!(error.contains(told) && error.contains("model.safetensors"), "{error}");
    assert_eq!(steps(&format!("{out}/checkpoints")), [4]);
    PART_4.stdout(&resume);
    runs.assert_same(["whole", "full"], 12);
}
