//! The demo runs as the README says and prints the numbers it quotes.

use std::process::Command;

#[test]
fn the_demo_prints_the_trace_and_draws_the_picture() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let picture = folder.path().join("new/attention.png");
    let output = Command::new(env!("CARGO_BIN_EXE_part_1"))
        .args(["--visualize", "--out"])
        .arg(&picture)
        .output()
        .expect("the demo starts");
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("[ 0.499399  0.500601  0.000000]"), "{text}");
    assert!(text.contains("[1, 3, 5, 5]"), "{text}");
    assert!(picture.exists());
}

#[test]
fn an_unknown_flag_ends_with_code_2() {
    let output = Command::new(env!("CARGO_BIN_EXE_part_1")).arg("--visualise").output();
    assert_eq!(output.expect("the demo starts").status.code(), Some(2));
}
