//! The program as a user meets it: the demo, a run that is stopped and resumed, adapters, and what is said about bad input.

use std::path::Path;

use serde_json::Value;
use tensor_core::testing::{Program, path_arg};

const PART_6: Program = Program(env!("CARGO_BIN_EXE_part_6"));

/// A run of a few steps in `out`, with these flags besides.
fn train<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let small = [
        "train",
        "--base-steps",
        "2",
        "--n-layer",
        "1",
        "--n-head",
        "2",
        "--n-embd",
        "16",
        "--steps",
        "4",
        "--batch-size",
        "4",
        "--examples",
        "40",
        "--eval-examples",
        "6",
        "--log-interval",
        "1",
        "--out",
        out,
    ];
    [&small[..], more].concat()
}

#[test]
fn the_demo_answers_before_and_after() {
    let text = PART_6.stdout(&["--base-steps", "2", "--steps", "3"]);
    assert!(
        text.contains("before") && text.contains("after") && text.contains("exact match"),
        "{text}"
    );
    assert!(text.contains("^"), "what is learned is marked: {text}");
}

#[test]
fn a_run_is_trained_resumed_sampled_and_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, parts) = (path_arg(folder.path(), "whole"), path_arg(folder.path(), "parts"));
    PART_6.stdout(&train(&whole, &[]));
    let text = PART_6.stdout(&train(&parts, &["--stop-after", "2"]));
    assert!(text.contains("-p part_6 -- train --resume"), "{text}");
    PART_6.stdout(&["train", "--resume", "--out", &parts]);
    for file in ["model/model.safetensors", "model/tokenizer.json", "model/config.json"] {
        let read = |run: &str| std::fs::read(Path::new(run).join(file)).expect(file);
        assert_eq!(read(&whole), read(&parts), "{file}: in pieces as in one");
    }
    let rows = |run: &str| {
        let text = std::fs::read_to_string(Path::new(run).join("metrics.jsonl")).expect("figures");
        let rows = text.lines().map(|row| serde_json::from_str::<Value>(row).expect("a row"));
        rows.map(|row| (row["step"].clone(), row["loss"].clone(), row["tokens"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(rows(&whole), rows(&parts), "figures go on where they were");
    for file in ["metrics.jsonl", "loss.svg", "base/model.safetensors", "config.json"] {
        assert!(Path::new(&whole).join(file).exists(), "{file}");
    }
    let found = PART_6.stdout_json(&["eval", "--model", &whole, "--json"]);
    for key in ["n", "loss", "perplexity", "exact_match", "token_f1", "rouge_l", "eos_rate"] {
        assert!(found[key].is_number(), "{key} in {found}");
    }
    assert_eq!((&found["n"], &found["products"]["n"]), (&500.into(), &18.into()));
    let text = PART_6.stdout(&[
        "sample",
        "--model",
        &whole,
        "--prompt",
        "What is 1 + 1?",
        "--max-new-tokens",
        "4",
    ]);
    assert!(text.contains("base") && text.contains("tuned"), "{text}");
    PART_6.assert_fails(
        &["train", "--resume", "--out", &whole, "--lr", "0.5"],
        1,
        "lr was 0.001 and is 0.5",
    );
}

#[test]
fn an_adapter_is_trained_beside_a_model_and_merged_into_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (base, tuned) = (path_arg(folder.path(), "base"), path_arg(folder.path(), "tuned"));
    PART_6.stdout(&train(&base, &[]));
    let model = path_arg(folder.path(), "base/model");
    let tune =
        ["--model", &model, "--lora-rank", "2", "--lr", "0.05", "--merge", "--data", "everyday"];
    let tune = [&tune[..], &["--template", "dialogue"]].concat();
    let text = PART_6.stdout(&train(&tuned, &[&tune[..], &["--stop-after", "2"]].concat()));
    assert!(text.contains("are trained"), "{text}");
    assert!(!Path::new(&tuned).join("model").exists(), "nothing is merged halfway");
    let other = path_arg(folder.path(), "base/base");
    let resumed = PART_6.command(&["train", "--resume", "--out", &tuned, "--model", &other]);
    let resumed = { resumed }.output().expect("the program starts");
    let error = String::from_utf8_lossy(&resumed.stderr);
    assert!(
        error.contains(&format!("began with {model} and cannot go on with {other}")),
        "{error}"
    );
    PART_6.stdout(&["train", "--resume", "--out", &tuned]);
    let adapter = path_arg(folder.path(), "tuned/adapter");
    let of = |args: &[&str]| {
        PART_6.stdout_json(
            &[&["eval", "--data", "everyday", "--max-new-tokens", "3", "--json"], args].concat(),
        )
    };
    let with = of(&["--model", &model, "--adapter", &adapter])["loss"].as_f64().expect("a loss");
    assert_eq!(of(&["--model", &tuned])["loss"], with, "the run's folder says what it began with");
    assert_eq!(
        of(&["--model", &tuned, "--template", "dialogue"])["loss"],
        with,
        "and how it is spoken to"
    );
    let said =
        std::fs::read_to_string(path_arg(folder.path(), "tuned/adapter/adapter_config.json"));
    let said: Value = serde_json::from_str(&said.expect("a file")).expect("JSON");
    assert_eq!(
        (&said["lora_alpha"], &said["base_model_name_or_path"]),
        (&4.0.into(), &model.as_str().into())
    );
    let merged =
        of(&["--model", &path_arg(folder.path(), "tuned/model")])["loss"].as_f64().expect("a loss");
    let without =
        of(&["--model", &model, "--template", "dialogue"])["loss"].as_f64().expect("a loss");
    assert!((with - merged).abs() < 1e-3, "{with} {merged}");
    assert!((with - without).abs() > 1e-2, "{with} {without}");
    PART_6.assert_fails(
        &[
            "eval",
            "--model",
            &path_arg(folder.path(), "base/base"),
            "--adapter",
            &path_arg(folder.path(), "none"),
        ],
        1,
        "adapter_config.json",
    );
    let args = train(
        &tuned,
        &["--model", &model, "--lora-rank", "2", "--lora-target-modules", "q_proj,nothing"],
    );
    PART_6.assert_fails(&args, 1, "no linear layer is called `nothing`");
}

#[test]
fn a_run_that_lost_what_it_began_with_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let (base, tuned) = (path_arg(folder.path(), "base"), path_arg(folder.path(), "tuned"));
    PART_6.stdout(&train(&base, &[]));
    let model = path_arg(folder.path(), "base/model");
    PART_6.stdout(&train(&tuned, &["--model", &model, "--lora-rank", "2"]));
    let full = path_arg(folder.path(), "full");
    PART_6.stdout(&train(&full, &["--model", &model]));
    let sample = || {
        let short = ["--prompt", "What is 1 + 1?", "--max-new-tokens", "4"];
        PART_6.stdout(&[&["sample", "--model", &full], &short[..]].concat())
    };
    assert!(sample().contains("\n  base "), "what it was, beside what it is");
    PART_6.assert_fails(&train(&base, &["--model", &model]), 1, "which would be moved aside");
    std::fs::remove_dir_all(path_arg(folder.path(), "base/checkpoints")).expect("checkpoints");
    std::fs::remove_dir_all(path_arg(folder.path(), "base/base")).expect("a base");
    PART_6.assert_fails(&["train", "--resume", "--out", &base], 1, "has no checkpoint yet");
    std::fs::rename(&model, path_arg(folder.path(), "elsewhere")).expect("a model");
    let text = sample();
    assert!(text.contains("--base names it") && text.contains("\n  tuned "), "{text}");
    PART_6.assert_fails(
        &["eval", "--model", &tuned],
        1,
        &format!("opening {model}, which the adapter is for"),
    );
}

#[test]
fn bad_input_is_refused_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = path_arg(folder.path(), "rows.jsonl");
    std::fs::write(&file, "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\"}\n")
        .expect("a file");
    let out = path_arg(folder.path(), "out");
    let refused =
        |more: &[&str], code, says: &str| PART_6.assert_fails(&train(&out, more), code, says);
    refused(&["--data", &file], 1, "rows.jsonl:2: there is no column `completion`");
    refused(
        &["--data", &file, "--columns", "prompt=q,completion=a"],
        1,
        "rows.jsonl:1: there is no column `q`",
    );
    refused(&["--data", &file, "--columns", "nonsense"], 2, "expected WHAT=COLUMN");
    refused(&["--data", "nowhere.jsonl"], 1, "nowhere.jsonl");
    refused(&["--template", "poem"], 2, "invalid value 'poem'");
    refused(&["--dtype", "f16"], 2, "--dtype");
    refused(&["--lora-rank", "0"], 2, "--lora-rank");
    refused(&["--merge"], 2, "--lora-rank");
    refused(&["--n-head", "3"], 2, "heads");
    refused(
        &["--lora-rank", "2", "--lora-target-modules", "nothing"],
        1,
        "no linear layer is called",
    );
    refused(&["--lora-rank", "100000000000000000"], 1, "say no more than those of rank");
    refused(&["--lora-dropout", "0.1"], 2, "give a --lora-rank");
    refused(&["--lora-alpha", "3"], 2, "--lora-rank");
    refused(&["--template", "chatml"], 1, "<|im_start|> is no token of this model");
    refused(&["--template", "own"], 1, "no chat template of its own");
    refused(&["--columns", "prompt=a,completion=b"], 2, "--columns is for files");
    refused(&["--validation", "1"], 2, "must be below 1");
    let long = path_arg(folder.path(), "long.jsonl");
    let row = serde_json::json!({ "prompt": "7 ".repeat(200), "completion": "b" });
    std::fs::write(&long, format!("{row}\n{row}\n")).expect("a file");
    refused(&["--data", &long], 1, "no example fits");
    refused(&["--stop-at", "1.5"], 2, "--stop-at");
    refused(&["--model", "nowhere/at/all"], 1, "nowhere/at/all");
    assert!(!Path::new(&out).exists(), "nothing was written");
}
