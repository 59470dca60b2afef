//! The program as users run it: the demo, a run that is stopped and resumed, adapters, and error
//! messages for bad input.

#[path = "demo/others.rs"]
mod others;
#[path = "demo/resumed.rs"]
mod resumed;
#[path = "demo/tutorial.rs"]
mod tutorial;

use std::path::Path;

use tensor_core::testing::{CheckpointingRuns, Program, path_arg};

const PART_8: Program = Program(env!("CARGO_BIN_EXE_part_8"));

/// Arguments of a short run in `out` with further flags.
fn train<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let small = "train --steps 4 --batch-size 4 --group-size 2 --eval-examples 6 --threads 1";
    let task = if more.contains(&"--data") { "" } else { "--examples 40" };
    let base = match more.contains(&"--model") {
        true => "",
        false => "--base-steps 2 --sft-steps 2 --n-layer 1 --n-head 2 --n-embd 16",
    };
    let args = [small, task, base].into_iter().flat_map(str::split_whitespace);
    args.chain(["--out", out]).chain(more.iter().copied()).collect()
}

/// Checks that the policy `model`, without a reference, has the metrics that a comparison `found`.
fn evaluates_without_a_reference(model: &str, found: &serde_json::Value) {
    let alone = ["eval", "--model", model, "--eval-examples", "20"];
    let metrics = PART_8.stdout_json(&[&alone[..], &["--json"]].concat());
    assert_eq!(
        ["n", "reward_mean", "exact_match"].map(|key| &metrics[key]),
        ["n", "reward_mean", "exact_match"].map(|key| &found[key]),
        "greedy completions of the same model"
    );
    assert!(PART_8.stdout(&alone).contains("no reference model is known"));
}

/// Checks the keys of the rows in the file `metrics`, and that `kl` is per token.
fn assert_rows_have_the_metrics(metrics: &str) {
    let rows = std::fs::read_to_string(metrics).expect("rows");
    for key in [
        "reward_mean",
        "kl",
        "kl_per_completion",
        "entropy",
        "clip_fraction",
        "explained_variance",
        "first_ratio_error",
        "rollout_tokens_per_s",
    ] {
        assert!(rows.contains(&format!("\"{key}\"")), "{key} in {rows}");
    }
    for row in rows.lines().filter(|row| row.contains("\"reward_mean\"")) {
        let row: serde_json::Value = serde_json::from_str(row).expect("a row");
        let number = |key: &str| row[key].as_f64().expect("a number");
        let per_completion = number("kl") * number("length_mean");
        assert!((number("kl_per_completion") - per_completion).abs() < 1e-9, "{row}");
    }
}

/// Checks that the model of the run `whole` in `folder` has the metrics `found` of the run, and a
/// copy of it outside of the run those of a policy without a reference.
fn evaluates_a_model_in_and_out_of_its_run(folder: &Path, found: &serde_json::Value) {
    let model = path_arg(folder, "whole/model");
    let own = ["eval", "--model", &model, "--eval-examples", "20", "--json"];
    assert_eq!(PART_8.stdout_json(&own), *found, "a run's model is evaluated as the run");
    let copy = path_arg(folder, "copy");
    std::fs::create_dir(&copy).expect("a folder");
    for entry in std::fs::read_dir(&model).expect("a model") {
        let entry = entry.expect("a file");
        std::fs::copy(entry.path(), Path::new(&copy).join(entry.file_name())).expect("copied");
    }
    evaluates_without_a_reference(&copy, found);
}

#[test]
fn a_run_trains_resumes_and_evaluates() {
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, parts) = (path_arg(folder.path(), "whole"), path_arg(folder.path(), "parts"));
    PART_8.stdout(&train(&whole, &[]));
    let base = path_arg(folder.path(), "whole/base");
    let text = PART_8.stdout(&train(&parts, &["--model", &base, "--stop-after", "2"]));
    assert!(text.contains("-p part_8 -- train --resume"), "{text}");
    PART_8.stdout(&["train", "--resume", "--out", &parts]);
    let read = |file: &str| std::fs::read(Path::new(file)).expect(file);
    for file in ["checkpoints/step-4/policy/model.safetensors", "completions.jsonl"] {
        let [whole, parts] =
            ["whole", "parts"].map(|run| read(&path_arg(folder.path(), &format!("{run}/{file}"))));
        assert!(!whole.is_empty() && whole == parts, "{file}");
    }
    for file in ["metrics.jsonl", "reward.svg", "config.json", "model/config.json"] {
        assert!(Path::new(&whole).join(file).exists(), "{file}");
    }
    assert_rows_have_the_metrics(&path_arg(folder.path(), "parts/metrics.jsonl"));
    let found = PART_8.stdout_json(&["eval", "--model", &whole, "--eval-examples", "20", "--json"]);
    for key in [
        "n",
        "reward_mean",
        "reward_ref_mean",
        "win_rate",
        "win_rate_low",
        "win_rate_high",
        "kl",
        "kl_per_completion",
        "kl_length_mean",
        "length_mean",
        "exact_match",
    ] {
        assert!(found[key].is_number(), "{key} in {found}");
    }
    let number = |key: &str| found[key].as_f64().expect("a number");
    let per_completion = number("kl") * number("kl_length_mean");
    assert!((number("kl_per_completion") - per_completion).abs() < 1e-9, "{found}");
    let same = ["eval", "--model", &base, "--reference", &base, "--eval-examples", "20", "--json"];
    let alike = PART_8.stdout_json(&same);
    let no_kl = alike["kl"].as_f64().map(|kl| kl.abs() < 1e-6);
    assert_eq!((alike["win_rate"].as_f64(), no_kl), (Some(0.5), Some(true)));
    evaluates_a_model_in_and_out_of_its_run(folder.path(), &found);
    for flag in ["--model", "--reference", "--reward"] {
        PART_8.assert_fails(&train(&whole, &[flag, &base]), 1, "which would be moved aside");
    }
    PART_8.assert_fails(
        &["train", "--resume", "--out", &parts, "--lr", "0.5"],
        1,
        "lr was 0.0001 and is 0.5",
    );
}

#[test]
fn the_demo_prints_completions_before_and_after() {
    let text = PART_8.stdout(&["--steps", "1", "--threads", "2"]);
    assert!(
        text.contains("before") && text.contains("after") && text.contains("win rate"),
        "{text}"
    );
}

#[test]
fn bad_input_is_refused_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = path_arg(folder.path(), "out");
    let refused =
        |more: &[&str], code, says: &str| PART_8.assert_fails(&train(&out, more), code, says);
    refused(&["--max-new-tokens", "0"], 2, "--max-new-tokens");
    refused(&["--temperature", "0"], 2, "temperature above 0");
    refused(&["--group-size", "0"], 2, "--group-size");
    refused(&["--validation", "0.1"], 2, "--validation is for files");
    refused(&["--split-seed", "4"], 2, "--split-seed is for files");
    let of_rows = ["train", "--data", "everyday", "--examples", "5", "--out", &out];
    PART_8.assert_fails(&of_rows, 2, "--examples is for arithmetic");
    refused(&["--batch-size", "1"], 2, "too few prompts (1) for 2 minibatches");
    refused(&["--batch-size", "4", "--num-minibatches", "3"], 2, "of equal size");
    refused(&["--model", "m", "--sft-steps", "3"], 2, "--sft-steps is for the small model");
    refused(&["--gae-lambda", "1.5"], 2, "--gae-lambda");
    refused(&["--gamma", "0"], 2, "--gamma");
    refused(&["--clip-range", "0"], 2, "--clip-range");
    refused(&["--dtype", "f16"], 2, "--dtype");
    refused(&["--kl-estimator", "k4"], 2, "invalid value 'k4'");
    refused(&["--demonstrations", "noisy"], 2, "unexpected argument '--demonstrations'");
    refused(&["--gamma", "-1"], 2, "--gamma");
    refused(&["--target-reward", "nan"], 2, "--target-reward");
    refused(&["--adaptive-kl-target", "1", "--kl-coef", "0"], 2, "--adaptive-kl-target");
    refused(&["--adaptive-kl-horizon", "10"], 2, "--adaptive-kl-target");
    refused(&["--format-reward", "0.1"], 2, "--format-reward");
    refused(&["--lora-dropout", "0.1"], 2, "--lora-rank");
    refused(&["--lora-rank", "2", "--lora-dropout", "0.1"], 2, "--lora-dropout");
    refused(
        &["--grad-accum-steps", "3"],
        2,
        "too few prompts (4) for 2 minibatches of 3 micro-batches",
    );
    refused(&["--reward", "nowhere/at/all"], 1, "nowhere/at/all");
    refused(&["--reference", "nowhere/at/all"], 1, "nowhere/at/all");
    refused(&["--lora-rank", "2", "--lora-target-modules", "none"], 1, "none");
    refused(&["--data", "nowhere.jsonl"], 1, "nowhere.jsonl");
    refused(&["--model", "nowhere/at/all"], 1, "nowhere/at/all");
    let words = path_arg(folder.path(), "words.jsonl");
    let row = |i| format!("{{\"prompt\": \"Is {i} even?\", \"completion\": \"yes, it is\"}}\n");
    std::fs::write(&words, (0..40).map(row).collect::<String>()).expect("written");
    refused(&["--data", &words], 1, "the answer \"yes, it is\" has none: use a reward model");
    assert!(!Path::new(&out).exists(), "nothing was written");
}

#[test]
fn gradient_checkpointing_gives_the_same_weights_also_of_adapters_of_8_bit_adamw_and_resumed() {
    PART_8.assert_gradient_checkpointing_is_exact(&CheckpointingRuns {
        train,
        checkpoint: "step-4/policy",
        adapter: &["--lora-rank", "2", "--lr", "0.01"],
    });
}
