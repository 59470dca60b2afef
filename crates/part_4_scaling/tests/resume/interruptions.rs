//! Interruptions of a run: SIGKILL, SIGINT, SIGTERM, a closed terminal, output without a reader and
//! a full disk.

use std::path::Path;
use std::process::{Child, Command, Stdio};
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
        wait_for_rows(&runs, name, &mut child);
        kill(signal, &child);
        assert!(child.wait().expect("a status").success(), "{signal} exits with status 0");
        assert_resumes(&runs, name, &flags);
    }
}

/// Waits until the run `name` has taken some steps.
#[cfg(unix)]
fn wait_for_rows(runs: &Runs, name: &str, child: &mut Child) {
    while !Path::new(&runs.out(name)).join("metrics.jsonl").exists() || runs.rows(name).len() < 9 {
        std::thread::sleep(Duration::from_millis(5));
        let status = child.try_wait().expect("a status");
        assert!(status.is_none(), "the run ended before its interruption");
    }
}

#[cfg(unix)]
fn kill(signal: &str, child: &Child) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().expect("kill").success());
}

/// Panics unless the run `name` of 300 steps has stopped early with a checkpoint, and gives the
/// results of the run `uninterrupted` when it is resumed.
#[cfg(unix)]
fn assert_resumes(runs: &Runs, name: &str, flags: &[&str]) {
    let stopped = steps(&runs.out(&format!("{name}/checkpoints")));
    assert!(stopped.len() == 1 && stopped[0] < 300, "{name}: {stopped:?}");
    runs.train(name, &[flags, &["--resume"]].concat());
    runs.assert_same(["uninterrupted", name], 300);
}

/// Flags of a run that often prints a line on stdout.
#[cfg(unix)]
const TALKATIVE: [&str; 6] = ["--steps", "300", "--save-interval", "0", "--eval-interval", "5"];

/// Starts a talkative run with its output in pipes.
#[cfg(unix)]
fn start_in_pipes(runs: &Runs, name: &str) -> Child {
    let out = runs.out(name);
    let mut command = PART_4.command(&runs.args(&out, &TALKATIVE));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("part_4 starts")
}

#[cfg(unix)]
#[test]
fn a_run_whose_reader_ends_saves_a_checkpoint_and_exits_with_status_1() {
    let runs = Runs::new();
    runs.train("uninterrupted", &TALKATIVE);
    // `| head`, and `2>&1 | head`.
    for (name, stderr_is_open) in [("stdout", true), ("both", false)] {
        let mut child = start_in_pipes(&runs, name);
        wait_for_rows(&runs, name, &mut child);
        drop(child.stdout.take());
        if !stderr_is_open {
            drop(child.stderr.take());
        }
        let output = child.wait_with_output().expect("it ends");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {error}");
        assert!(!error.contains("panicked"), "{error}");
        assert_eq!(error.contains("error: stdout was closed"), stderr_is_open, "{error}");
        assert_resumes(&runs, name, &TALKATIVE);
    }
}

/// True if this process, and so its children, ignores SIGHUP, as below `nohup`.
#[cfg(target_os = "linux")]
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a mask");
    u64::from_str_radix(ignored.trim(), 16).expect("a number") & 1 > 0
}

#[cfg(target_os = "linux")]
#[test]
fn a_closed_terminal_saves_a_checkpoint_and_exits_with_status_0() {
    if ignores_hangup() {
        println!("skipped: SIGHUP is ignored in this process");
        return;
    }
    let runs = Runs::new();
    runs.train("uninterrupted", &TALKATIVE);
    let mut child = start_in_pipes(&runs, "closed");
    wait_for_rows(&runs, "closed", &mut child);
    kill("-HUP", &child);
    drop((child.stdout.take(), child.stderr.take()));
    // The kernel sends the signal, and so does the shell, whenever it comes to it.
    while child.try_wait().expect("a status").is_none() {
        kill("-HUP", &child);
    }
    assert_eq!(child.wait().expect("a status").code(), Some(0));
    assert_resumes(&runs, "closed", &TALKATIVE);
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_below_nohup_continues_when_the_terminal_is_closed() {
    let runs = Runs::new();
    runs.train("uninterrupted", &TALKATIVE);
    let out = runs.out("nohup");
    let mut child = Command::new("sh")
        .args(["-c", r#"trap "" HUP; exec "$@""#, "sh", PART_4.0])
        .args(runs.args(&out, &TALKATIVE))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    wait_for_rows(&runs, "nohup", &mut child);
    kill("-HUP", &child);
    assert!(child.wait().expect("a status").success());
    runs.assert_same(["uninterrupted", "nohup"], 300);
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
