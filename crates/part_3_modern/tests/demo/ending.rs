//! Early ends of the program: closed output pipe, full disk and Ctrl-C.

use std::process::{Child, Command, Stdio};

use tensor_core::testing::path_arg;

use crate::{PART_3, train};

/// Starts the command with stdout and stderr piped.
fn start(args: &[&str]) -> Child {
    let mut command = PART_3.command(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("part_3 starts")
}

#[test]
fn a_closed_output_pipe_ends_the_program_without_an_error() {
    let (folder, _) = train(&["--window", "4"]);
    let model = path_arg(&folder.path().join("run"), "model");
    // Without the closed pipe, this many tokens would never finish.
    let endless =
        ["generate", "--model", &model, "--prompt", "x", "--max-new-tokens", "1000000000"];
    for args in [&["--steps", "2"][..], &endless] {
        let mut child = start(args);
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn output_to_a_full_disk_is_an_error_of_one_line() {
    let (folder, _) = train(&["--window", "4"]);
    let model = path_arg(&folder.path().join("run"), "model");
    let text = path_arg(folder.path(), "to_score.txt");
    std::fs::write(&text, "the cat").expect("a text");
    let generate = ["generate", "--model", &model, "--prompt", "x", "--max-new-tokens", "2"];
    let report = [&generate[..], &["--json"]].concat();
    for args in [
        &["--help"][..],
        &["--version"],
        &["--steps", "2"],
        &generate,
        &report[..],
        &["score", "--model", &model, "--text-file", &text],
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
        let output = PART_3.command(args).stdout(full).output().expect("part_3 starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        let error = stderr.lines().last().expect("a line"); // after those of the progress
        assert!(error.starts_with("error: writing stdout: No space"), "{args:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_demo() {
    use std::io::{BufRead, BufReader, Read};
    if ignores_interrupts() {
        println!("skipped: SIGINT is ignored in this process");
        return;
    }
    let mut child = start(&["--steps", "1000000"]);
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    out.read_line(&mut line).expect("the first line of output");
    std::thread::sleep(std::time::Duration::from_millis(500)); // until training has started
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("kill").success());
    out.read_to_string(&mut line).expect("it ends");
    let status = child.wait().expect("it ends");
    assert!(!status.success() && !line.contains("the same text twice"), "{status}: {line}");
}

/// True if this process, and so its children, ignores SIGINT, as background jobs of a script do.
#[cfg(unix)]
fn ignores_interrupts() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 2 > 0)
}
