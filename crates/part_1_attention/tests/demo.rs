//! Test of the demo: it runs as in the README and prints the numbers quoted there.

use tensor_core::testing::Program;

const PART_1: Program = Program(env!("CARGO_BIN_EXE_part_1"));

#[test]
fn the_demo_prints_the_trace_and_draws_the_picture() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let picture = folder.path().join("new/attention.png");
    let text = PART_1.stdout(&["--visualize", "--out", &picture.to_string_lossy()]);
    assert!(text.contains("[ 0.499399  0.500601  0.000000]"), "{text}");
    assert!(text.contains("[1, 3, 5, 5]"), "{text}");
    assert!(picture.exists());
}

#[test]
fn an_unknown_flag_ends_with_code_2() {
    let output = PART_1.command(&["--visualise"]).output();
    assert_eq!(output.expect("the demo starts").status.code(), Some(2));
}
