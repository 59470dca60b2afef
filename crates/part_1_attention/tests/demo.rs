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
    assert!(text.contains("position 1  [ 0.841  0.540"), "sin 1, cos 1: {text}");
}

#[test]
fn the_ten_shapes_are_also_written_to_a_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("new/shapes.txt");
    let text = PART_1.stdout(&["--shapes", &file.to_string_lossy()]);
    let shapes = std::fs::read_to_string(&file).expect("a text file");
    assert!(text.contains(&shapes), "{shapes}");
    assert_eq!(shapes.lines().filter(|line| line.ends_with(']')).count(), 10, "{shapes}");
    let line = |number: &str| shapes.lines().find(|line| line.trim_start().starts_with(number));
    assert!(line("4 ").is_some_and(|line| line.ends_with("[1, 5, 3, 4]")), "{shapes}");
    assert!(line("5 ").is_some_and(|line| line.ends_with("[1, 3, 5, 4]")), "{shapes}");
}

#[test]
fn an_unknown_flag_ends_with_code_2() {
    let output = PART_1.command(&["--visualise"]).output();
    assert_eq!(output.expect("the demo starts").status.code(), Some(2));
}
