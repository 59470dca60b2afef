//! Errors: one line each, and nothing is written.

use std::path::Path;

use tensor_core::testing::path_arg;

use crate::{PART_6, train};

#[test]
fn invalid_input_is_rejected_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = path_arg(folder.path(), "rows.jsonl");
    std::fs::write(&file, "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\"}\n")
        .expect("a file");
    let out = path_arg(folder.path(), "out");
    let rejected =
        |more: &[&str], code, message: &str| PART_6.assert_fails(&train(&out, more), code, message);
    rejected(&["--data", &file], 1, "rows.jsonl:2: there is no column `completion`");
    rejected(
        &["--data", &file, "--columns", "prompt=q,completion=a"],
        1,
        "rows.jsonl:1: there is no column `q`",
    );
    rejected(&["--data", &file, "--columns", "nonsense"], 2, "expected FIELD=COLUMN");
    rejected(&["--data", "nowhere.jsonl"], 1, "nowhere.jsonl");
    rejected(&["--adapter", "a"], 2, "`part_6 merge --model MODEL --adapter a --out DIR`");
    rejected(&["--template", "poem"], 2, "invalid value 'poem'");
    rejected(&["--dtype", "f16"], 2, "--dtype");
    rejected(&["--lora-rank", "0"], 2, "--lora-rank");
    rejected(&["--merge"], 2, "--lora-rank");
    rejected(&["--n-head", "3"], 2, "heads");
    rejected(
        &["--lora-rank", "2", "--lora-target-modules", "nothing"],
        1,
        "no linear layer is called",
    );
    rejected(&["--lora-rank", "100000000000000000"], 1, "these layers have at most rank");
    rejected(&["--lora-dropout", "0.1"], 2, "give a --lora-rank");
    rejected(&["--lora-alpha", "3"], 2, "--lora-rank");
    rejected(&["--use-dora"], 2, "--lora-rank");
    rejected(&["--template", "chatml"], 1, "<|im_start|> is not a token of this model");
    rejected(&["--template", "own"], 1, "no chat template of its own");
    rejected(&["--columns", "prompt=a,completion=b"], 2, "--columns is for files");
    rejected(&["--validation", "1"], 2, "must be below 1");
    rejected(&["--validation", "0.1"], 2, "--validation is for files");
    let old = path_arg(folder.path(), "old.yaml");
    for (share, code, message) in
        [("0.1", 1, "no chat template of its own"), ("0.2", 2, "--validation is for files")]
    {
        std::fs::write(&old, format!("validation: {share}\n")).expect("a file");
        rejected(&["--config", &old, "--template", "own"], code, message);
    }
    let long = path_arg(folder.path(), "long.jsonl");
    let row = |prompt: &str| format!("{{\"prompt\": \"{prompt}\", \"completion\": \"b\"}}\n");
    std::fs::write(&long, row(&"7 ".repeat(200)) + &row(&"8 ".repeat(200))).expect("a file");
    rejected(&["--data", &long], 1, "no example fits");
    rejected(&["--target-exact-match", "1.5"], 2, "--target-exact-match");
    rejected(&["--model", "nowhere/at/all"], 1, "nowhere/at/all");
    assert!(!Path::new(&out).exists(), "no files were written");
}

#[test]
fn a_run_that_has_saved_no_model_yet_is_refused_with_the_command_that_continues_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = path_arg(folder.path(), "run");
    let flags = ["--stop-after", "1", "--eval-interval", "0", "--json"];
    let report = PART_6.stdout_json(&train(&run, &flags));
    assert!(report["model"].is_null() && report.get("model").is_some(), "{report}");
    let remedy = format!("continue it with `train --resume --out {run}`");
    for command in ["eval", "sample"] {
        PART_6.assert_fails(&[command, "--model", &run], 1, &remedy);
    }
}

#[test]
fn a_run_without_a_model_is_named_and_flags_of_a_base_model_need_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = path_arg(folder.path(), "run");
    std::fs::create_dir(&run).expect("a folder"); // stopped while its base model was pretrained
    for (name, text) in [("config.json", "{\"steps\": 4}"), ("metrics.jsonl", "")] {
        std::fs::write(Path::new(&run).join(name), text).expect("a file");
    }
    PART_6.assert_fails(&["eval", "--model", &run], 1, "stopped before it saved a model");
    let out = path_arg(folder.path(), "out");
    PART_6.assert_fails(&train(&out, &["--model", &run]), 1, "stopped before it saved a model");
    let with_base = train(&out, &["--model", "m", "--n-layer", "3"]);
    PART_6.assert_fails(&with_base, 2, "--n-layer is for the small model of a run without --model");
    PART_6.assert_fails(&train(&out, &["--pack", "1"]), 2, "--pack 1");
    PART_6.assert_fails(&train(&out, &["--pack", "5"]), 1, "--pack 5: the longest example takes");
    let of_rows = ["train", "--data", "everyday", "--out", &out];
    for (flag, value) in [("--examples", "5"), ("--demonstrations", "noisy")] {
        let args = [&of_rows[..], &[flag, value]].concat();
        PART_6.assert_fails(&args, 2, &format!("{flag} is for arithmetic"));
    }
}
