//! How the program ends when the user or the reader of its output does not want more.

use std::process::{Child, Command, Stdio};

use tensor_core::testing::path_arg;

use crate::{PART_3, trained};

/// Starts the command with pipes for its output.
fn start(args: &[&str]) -> Child {
    let mut command = PART_3.command(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("part_3 starts")
}

#[test]
fn a_reader_that_goes_away_ends_the_program_and_is_no_error() {
    let (folder, _) = trained(&["--window", "4"]);
    let model = path_arg(&folder.path().join("run"), "model");
    // Of so many tokens nobody would see the end.
    let endless =
        ["generate", "--model", &model, "--prompt", "x", "--max-new-tokens", "1000000000"];
    for args in [&["--steps", "2"][..], &endless] {
        let mut child = start(args);
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_demo() {
    use std::io::{BufRead, BufReader, Read};
    if ignores_interrupts() {
        println!("skipped: whoever started this test has programs ignore Ctrl-C");
        return;
    }
    let mut child = start(&["--steps", "1000000"]);
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    out.read_line(&mut line).expect("it says what it does");
    std::thread::sleep(std::time::Duration::from_millis(500)); // into the training
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("kill").success());
    out.read_to_string(&mut line).expect("it ends");
    let status = child.wait().expect("it ends");
    assert!(!status.success() && !line.contains("the same text twice"), "{status}: {line}");
}

/// Whether this process, and so each that it starts, was told to ignore SIGINT, as background jobs of a script are.
#[cfg(unix)]
fn ignores_interrupts() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 2 > 0)
}
