//! Program tests: the demo, runs, what a run is evaluated on; adapters, resumed runs and errors in
//! the modules.

#[path = "demo/adapters.rs"]
mod adapters;
#[path = "demo/refused.rs"]
mod refused;
#[path = "demo/resumed.rs"]
mod resumed;

use std::path::Path;

use serde_json::Value;
use tensor_core::testing::{CheckpointingRuns, Program, path_arg};

const PART_6: Program = Program(env!("CARGO_BIN_EXE_part_6"));

/// Arguments of a short run in `out`, with additional flags.
fn train<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let small = "train --steps 4 --batch-size 4 --eval-examples 6 --log-interval 1";
    let task = if more.contains(&"--data") { "" } else { "--examples 40" };
    let base = if more.contains(&"--model") { "" } else { SMALL_BASE };
    let args = [small, task, base].into_iter().flat_map(str::split_whitespace);
    args.chain(["--out", out]).chain(more.iter().copied()).collect()
}

/// Flags of a small base model.
const SMALL_BASE: &str = "--base-steps 2 --n-layer 1 --n-head 2 --n-embd 16";

#[test]
fn a_run_on_a_file_takes_its_length_and_rates_from_the_data_and_the_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, out) = (path_arg(folder.path(), "rows.jsonl"), path_arg(folder.path(), "run"));
    let row = |i| format!("{{\"prompt\": \"{i} + 3?\", \"completion\": \"{}\"}}\n", i + 3);
    std::fs::write(&file, (0..20).map(row).collect::<String>()).expect("a file");
    let base: Vec<&str> = SMALL_BASE.split_whitespace().collect();
    let args = ["train", "--data", &file, "--out", &out, "--epochs", "2", "--lr", "0.3"];
    let text = PART_6.stdout(&[&args[..], &base].concat());
    assert!(text.contains("6 steps, 2.0 epochs"), "18 rows in three batches: {text}");
    assert!(text.contains("kept the model of step") && text.contains("before training"), "{text}");
    let settings = || {
        let text = std::fs::read_to_string(Path::new(&out).join("config.json")).expect("settings");
        let settings: Value = serde_json::from_str(&text).expect("JSON");
        ["steps", "epochs", "lr", "batch_size"].map(|key| settings[key].clone())
    };
    assert_eq!(settings(), [6.into(), Value::Null, 0.3.into(), 8.into()], "they are stored");
    let resume = |more: &[&'static str]| [&["train", "--resume", "--out", &out][..], more].concat();
    PART_6.assert_fails(&resume(&["--steps", "4"]), 2, "can only make it longer");
    PART_6.assert_fails(&resume(&["--stop-after", "3"]), 2, "has already taken 6 steps");
    assert_eq!(settings()[0], 6, "a refused run is not changed");
    PART_6.stdout(&resume(&["--epochs", "3"]));
    assert_eq!(settings()[..2], [9.into(), Value::Null]);
    let short = path_arg(folder.path(), "short");
    let short = [&["train", "--data", &file, "--out", &short, "--steps", "1"][..], &base].concat();
    let text = PART_6.stdout(&short);
    assert!(text.contains("learning rate of up to 0.001"), "of a small model: {text}");
}

#[test]
fn a_diverging_run_says_that_it_is_worse_and_patience_ends_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = path_arg(folder.path(), "run");
    let more = ["--lr", "3", "--steps", "60", "--eval-interval", "2", "--patience", "2"];
    let text = PART_6.stdout(&train(&out, &more));
    assert!(text.contains("kept the model of step 2:") && text.contains("worse than"), "{text}");
    assert!(text.contains("of 60: 2 validations were no better"), "{text}");
    let read = |model: &str| {
        let file = Path::new(&out).join(model).join("model.safetensors");
        std::fs::read(file).expect(model)
    };
    assert_ne!(read("model"), read("base"), "the start is not the best");
    assert_ne!(read("model"), read("final"), "the last model is there, too");
}

#[test]
fn the_demo_prints_completions_before_and_after() {
    let text = PART_6.stdout(&["--base-steps", "2", "--steps", "3"]);
    assert!(
        text.contains("before") && text.contains("after") && text.contains("exact match"),
        "{text}"
    );
    assert!(text.contains("^"), "the loss mask is shown: {text}");
}

#[test]
fn a_run_is_evaluated_on_the_rows_that_it_held_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, out) = (path_arg(folder.path(), "rows.jsonl"), path_arg(folder.path(), "run"));
    let row = |i| format!("{{\"prompt\": \"Say {i}.\", \"completion\": \"{i}\"}}\n");
    std::fs::write(&data, (0..20).map(row).collect::<String>()).expect("written");
    PART_6.stdout(&train(&out, &["--data", &data, "--validation", "0.2"]));
    let n = |args: &[&str]| {
        let eval = ["eval", "--max-new-tokens", "1", "--json"];
        PART_6.stdout_json(&[&eval, args].concat())["n"].clone()
    };
    assert_eq!(n(&["--model", &out]), 4, "the run's data is the default");
    let same = path_arg(folder.path(), "./rows.jsonl");
    let model = path_arg(folder.path(), "run/model");
    assert_eq!(n(&["--model", &out, "--data", &same]), 4, "another name of the same file");
    assert_eq!(n(&["--model", &model, "--data", &data]), 4, "the model in the run folder");
    let copy = path_arg(folder.path(), "copy.jsonl");
    std::fs::copy(&data, &copy).expect("copied");
    assert_eq!(n(&["--model", &out, "--data", &copy]), 20, "other data");
    let next = path_arg(folder.path(), "next");
    let text = PART_6.stdout(&train(&next, &["--model", &out, "--data", &data, "--seed", "2"]));
    assert!(text.contains("held out for validation are the rows that"), "{text}");
    assert_eq!(n(&["--model", &next, "--data", &data]), 4, "the rows that both runs held out");
    let text = PART_6.stdout(&["sample", "--model", &out, "--n", "9", "--max-new-tokens", "1"]);
    assert_eq!(text.matches("prompt      Say").count(), 4, "{text}");
    let two = ["--prompt", "a", "--prompt", "b", "--max-new-tokens", "1"];
    let text = PART_6.stdout(&[&["sample", "--model", &out], &two[..]].concat());
    assert_eq!(text.matches("prompt  ").count(), 2, "{text}");
    std::fs::write(&data, (0..21).map(row).collect::<String>()).expect("written");
    let eval = ["eval", "--model", &out, "--max-new-tokens", "1", "--json"];
    let output = PART_6.command(&eval).output().expect("the program starts");
    let [text, warning] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(warning.contains("warning: the run was trained on rows of these data"), "{warning}");
    assert!(!text.contains("trained on"), "a warning is not among the results: {text}");
}

#[test]
fn data_and_names_cannot_control_the_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let (run, data) = (path_arg(folder.path(), "run"), path_arg(folder.path(), "data.jsonl"));
    let row = r#"{"prompt": "a\u001b[2J", "completion": "b\u001b]0;c\u0007"}"#;
    let other = r#"{"prompt": "c\u001b[2J", "completion": "d"}"#; // both splits need a prompt
    std::fs::write(&data, format!("{}\n{other}", [row; 20].join("\n"))).expect("a file");
    let text = PART_6.stdout(&train(&run, &["--data", &data]));
    let sampled = ["sample", "--model", &run, "--data", &data, "--n", "2", "--max-new-tokens", "9"];
    for text in [text, PART_6.stdout(&sampled)] {
        assert!(text.contains('�') && !text.contains(['\u{1b}', '\u{7}']), "{text:?}");
    }
    let bad = r#"{"messages": [{"role": "\u001b[2J", "content": "a"}]}"#;
    std::fs::write(&data, bad).expect("a file");
    PART_6.assert_fails(&train(&run, &["--data", &data]), 1, "unknown role `�[2J`");
    PART_6.assert_fails(&["eval", "--model", "\u{1b}[2J"], 1, "�[2J");
}

#[test]
fn gradient_checkpointing_gives_the_same_weights_also_of_adapters_of_8_bit_adamw_and_resumed() {
    PART_6.assert_gradient_checkpointing_is_exact(&CheckpointingRuns {
        train,
        checkpoint: "step-4",
        adapter: &["--lora-rank", "2", "--lora-dropout", "0.3", "--lr", "0.01"],
    });
}
