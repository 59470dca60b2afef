//! Interrupted runs, and the inputs that they may be resumed with.

use std::path::Path;

use tensor_core::testing::path_arg;

use super::{PART_8, train};

#[test]
fn a_run_on_a_file_resumes_and_is_evaluated_on_held_out_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| path_arg(folder.path(), name);
    let rows = |plus: usize| {
        let row =
            |i| format!("{{\"prompt\": \"{i} + 3?\", \"completion\": \"#### {}\"}}\n", i + plus);
        (0..20).map(row).collect::<String>()
    };
    let (data, run) = (at("rows.jsonl"), at("run"));
    std::fs::write(&data, rows(3)).expect("a file");
    PART_8.stdout(&train(&at("first"), &["--steps", "1"]));
    PART_8.stdout(&train(&at("second"), &["--steps", "1", "--seed", "9"]));
    let (base, other) = (at("first/base"), at("second/base"));
    let flags = ["--model", &base, "--data", &data, "--validation", "0.2", "--stop-after", "2"];
    PART_8.stdout(&train(&run, &flags));
    let found = PART_8.stdout_json(&["eval", "--model", &run, "--json"]);
    assert_eq!(found["n"], 4, "the rows kept for validation: {found}");
    let found = PART_8.stdout_json(&[
        "eval",
        "--model",
        &run,
        "--data",
        "arithmetic",
        "--eval-examples",
        "7",
        "--json",
    ]);
    assert_eq!(found["n"], 7, "what is said wins: {found}");
    let found = PART_8.stdout_json(&[
        "eval",
        "--model",
        &base,
        "--reference",
        &other,
        "--data",
        &data,
        "--json",
    ]);
    assert_eq!(found["n"], 20, "a model without a run: {found}");
    // Refused: another initial policy, another reward function, other answers to the same prompts.
    let resume = |more: &[&str], says: &str| {
        let args = [&["train", "--resume", "--out", &run], more].concat();
        PART_8.assert_fails(&args, 1, says);
    };
    resume(&["--model", &other], "another reference");
    resume(&["--reward", "random"], "another reward function");
    std::fs::write(&data, rows(4)).expect("a file");
    resume(&[], "other data");
    std::fs::write(&data, rows(3)).expect("a file");
    PART_8.stdout(&["train", "--resume", "--out", &run]);
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_is_saved_and_resumes() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = path_arg(folder.path(), "run");
    let args = train(&out, &["--steps", "100000", "--eval-interval", "0"]);
    let mut command = PART_8.command(&args);
    let child = command.stdout(std::process::Stdio::piped()).spawn().expect("it starts");
    let metrics = Path::new(&out).join("metrics.jsonl");
    let begun = || std::fs::read_to_string(&metrics).is_ok_and(|rows| rows.contains("reward_mean"));
    while !begun() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("kill").success());
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("stopped and saved after step"), "{said}");
    let last = said.lines().rev().find(|line| line.contains("saved")).expect("a line");
    let step: usize = last.split_whitespace().nth(5).and_then(|n| n.parse().ok()).expect("a step");
    let next = (step + 1).to_string();
    let said = PART_8.stdout(&["train", "--resume", "--out", &out, "--stop-after", &next]);
    assert!(said.contains(&format!("saved after step {next}")), "{said}");
}

#[test]
fn a_run_holds_out_the_rows_that_the_run_of_its_model_held_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| path_arg(folder.path(), name);
    let (data, first, second, third) = (at("rows.jsonl"), at("first"), at("second"), at("third"));
    let row = |i| format!("{{\"prompt\": \"{i} + 3?\", \"completion\": \"#### {}\"}}\n", i + 3);
    std::fs::write(&data, (0..20).map(row).collect::<String>()).expect("a file");
    PART_8.stdout(&train(&first, &["--data", &data, "--validation", "0.2", "--seed", "4"]));
    let flags = ["--model", &first, "--data", &data, "--seed", "5", "--stop-after", "2"];
    let text = PART_8.stdout(&train(&second, &flags));
    assert!(text.contains("held out for validation are the rows that"), "{text}");
    let settings = |run: &str| {
        let text = std::fs::read_to_string(Path::new(run).join("config.json")).expect("text");
        let settings: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let rule = &settings["split_rule"];
        [&rule["n_validation"], &rule["seed"], &settings["seed"]].map(ToString::to_string)
    };
    assert_eq!(settings(&second), ["4", "4", "5"]);
    PART_8.stdout(&["train", "--resume", "--out", &second]);
    assert_eq!(settings(&second), ["4", "4", "5"]);
    let found = PART_8.stdout_json(&["eval", "--model", &second, "--json"]);
    assert_eq!(found["n"], 4, "the rows that both runs held out: {found}");

    let share = [&flags[..], &["--validation", "0.5"]].concat();
    let output = PART_8.command(&train(&third, &share)).output().expect("the program starts");
    let warning = String::from_utf8_lossy(&output.stderr);
    assert!(warning.contains("was trained on 6 of the 10 validation rows"), "{warning}");
    assert_eq!(settings(&third), ["10", "4", "5"], "the share that is given wins");
}
