//! The program as a user meets it: the demo, a run that is stopped and resumed, adapters, and what is said about bad input.

use std::path::Path;

use serde_json::Value;
use tensor_core::testing::{Program, path};

const PART_8: Program = Program(env!("CARGO_BIN_EXE_part_8"));

/// A run of a few steps in `out`, with these flags besides.
fn train<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let small = "train --base-steps 2 --sft-steps 2 --n-layer 1 --n-head 2 --n-embd 16 --steps 4 --batch-size 4 --samples 2 \
                 --examples 40 --eval-examples 6 --threads 1";
    let small = small.split_whitespace().chain(["--out", out]);
    small.chain(more.iter().copied()).collect()
}

#[test]
fn a_run_is_trained_resumed_and_compared() {
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, parts) = (path(folder.path(), "whole"), path(folder.path(), "parts"));
    PART_8.says(&train(&whole, &[]));
    let base = path(folder.path(), "whole/base");
    let text = PART_8.says(&train(&parts, &["--model", &base, "--stop-after", "2"]));
    assert!(text.contains("part_8 train --resume"), "{text}");
    PART_8.says(&["train", "--resume", "--out", &parts]);
    let read = |file: &str| std::fs::read(Path::new(file)).expect(file);
    let last = "checkpoints/step-4/policy/trained.safetensors";
    assert_eq!(
        read(&path(folder.path(), &format!("whole/{last}"))),
        read(&path(folder.path(), &format!("parts/{last}")))
    );
    for file in ["metrics.jsonl", "reward.svg", "config.json", "model/config.json"] {
        assert!(Path::new(&whole).join(file).exists(), "{file}");
    }
    let rows = std::fs::read_to_string(path(folder.path(), "parts/metrics.jsonl")).expect("rows");
    for key in [
        "reward_mean",
        "kl",
        "entropy",
        "clip_fraction",
        "explained_variance",
        "first_ratio_error",
        "rollout_tokens_per_s",
    ] {
        assert!(rows.contains(&format!("\"{key}\"")), "{key} in {rows}");
    }
    let found = PART_8.says_json(&["eval", "--model", &whole, "--eval-examples", "20", "--json"]);
    for key in [
        "n",
        "reward_mean",
        "reward_ref_mean",
        "win_rate",
        "win_rate_low",
        "win_rate_high",
        "kl",
        "length_mean",
        "exact_match",
    ] {
        assert!(found[key].is_number(), "{key} in {found}");
    }
    let same = ["eval", "--model", &base, "--reference", &base, "--eval-examples", "20", "--json"];
    let alike = PART_8.says_json(&same);
    let no_kl = alike["kl"].as_f64().map(|kl| kl.abs() < 1e-6);
    assert_eq!((alike["win_rate"].as_f64(), no_kl), (Some(0.5), Some(true)));
    for flag in ["--model", "--reference", "--reward"] {
        PART_8.refuses(&train(&whole, &[flag, &base]), 1, "which would be moved aside");
    }
    PART_8.refuses(
        &["train", "--resume", "--out", &parts, "--lr", "0.5"],
        1,
        "lr was 0.0001 and is 0.5",
    );
}

#[test]
fn an_adapter_learns_beside_its_reference_and_another_model_may_be_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = path(folder.path(), "first");
    PART_8.says(&train(&first, &["--steps", "1"]));
    let base = path(folder.path(), "first/base");
    let other = path(folder.path(), "other");
    PART_8.says(&train(&other, &["--n-embd", "32", "--steps", "1"]));
    let other = path(folder.path(), "other/base");
    let adapted = path(folder.path(), "adapted");
    let args = train(&adapted, &["--model", &base, "--lora-rank", "2", "--lr", "1e-2", "--merge"]);
    PART_8.says(&args);
    let found = PART_8.says_json(&["eval", "--model", &adapted, "--eval-examples", "20", "--json"]);
    assert!(found["kl"].is_number(), "the reference is the model without its adapter: {found}");
    // A reference of other sizes and the same tokens is a reference; one of other tokens is not.
    let third = path(folder.path(), "c");
    PART_8.says(&train(&third, &["--model", &base, "--reference", &other, "--steps", "1"]));
    let swapped = folder.path().join("swapped");
    copied(Path::new(&base), &swapped);
    let file = swapped.join("tokenizer.json");
    let mut tokens: Value =
        serde_json::from_slice(&std::fs::read(&file).expect("it")).expect("JSON");
    let vocab = &mut tokens["model"]["vocab"];
    let (one, two) = (vocab["1"].clone(), vocab["2"].clone());
    (vocab["1"], vocab["2"]) = (two, one);
    std::fs::write(&file, tokens.to_string()).expect("a file");
    let swapped = swapped.to_string_lossy().into_owned();
    let fourth = path(folder.path(), "d");
    let says = "another tokenizer than the policy";
    PART_8.refuses(&train(&fourth, &["--model", &base, "--reference", &swapped]), 1, says);
    PART_8.refuses(&["eval", "--model", &base, "--reference", &swapped], 1, says);
    assert!(!Path::new(&fourth).exists(), "nothing was written");
}

fn copied(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let file = entry.expect("an entry").path();
        std::fs::copy(&file, to.join(file.file_name().expect("a name"))).expect("a copy");
    }
}

#[test]
fn a_run_on_a_file_goes_on_with_what_it_began_with_and_is_asked_what_it_has_not_learned() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| path(folder.path(), name);
    let rows = |plus: usize| {
        let row =
            |i| format!("{{\"prompt\": \"{i} + 3?\", \"completion\": \"#### {}\"}}\n", i + plus);
        (0..20).map(row).collect::<String>()
    };
    let (data, run) = (at("rows.jsonl"), at("run"));
    std::fs::write(&data, rows(3)).expect("a file");
    PART_8.says(&train(&at("first"), &["--steps", "1"]));
    PART_8.says(&train(&at("second"), &["--steps", "1", "--seed", "9"]));
    let (base, other) = (at("first/base"), at("second/base"));
    let flags = ["--model", &base, "--data", &data, "--validation", "0.2", "--stop-after", "2"];
    PART_8.says(&train(&run, &flags));
    let found = PART_8.says_json(&["eval", "--model", &run, "--json"]);
    assert_eq!(found["n"], 4, "the rows kept for validation: {found}");
    let found = PART_8.says_json(&[
        "eval",
        "--model",
        &base,
        "--reference",
        &other,
        "--data",
        &data,
        "--json",
    ]);
    assert_eq!(found["n"], 20, "a model that is no run: {found}");
    // Neither another start, nor another scorer, nor other answers to the same questions.
    let resume = |more: &[&str], says: &str| {
        let args = [&["train", "--resume", "--out", &run], more].concat();
        PART_8.refuses(&args, 1, says);
    };
    resume(&["--model", &other], "another reference");
    resume(&["--reward", "chance"], "scored by another");
    std::fs::write(&data, rows(4)).expect("a file");
    resume(&[], "other data");
    std::fs::write(&data, rows(3)).expect("a file");
    PART_8.says(&["train", "--resume", "--out", &run]);
}

/// A reward model in `folder` that speaks as the model in `base` does, and finds `score` in each of its weights.
fn reward_model(base: &str, folder: &Path, score: f32) {
    use candle_core::{DType, Device};
    use modern::{Checkpoint, Purpose};
    let mut base = Checkpoint::open(base, Purpose::Inference, &Device::Cpu).expect("a base");
    let speech = sft::Speech::of(&mut base, None).expect("its speech");
    let config = reward::RewardModel::body_config(base.model.config());
    let mut parameters = tensor_core::Parameters::seeded(1, DType::F32, &Device::Cpu);
    let architecture = reward::Architecture::Causal;
    reward::RewardModel::new(&config, architecture, &mut parameters).expect("a model");
    for parameter in parameters.iter().filter(|parameter| parameter.name.starts_with("score")) {
        let filled = parameter.var.ones_like().and_then(|ones| ones * f64::from(score));
        parameter.var.set(&filled.expect("numbers")).expect("it is set");
    }
    let normalisation = reward::Normalisation::NONE;
    let description = reward::model_folder::Description { config, architecture, normalisation };
    let ends = &base.ends;
    reward::model_folder::save(folder, &description, &parameters, &speech, ends).expect("saved");
}

#[test]
fn a_reward_that_is_no_number_trains_nothing_and_compares_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| path(folder.path(), name);
    PART_8.says(&train(&at("first"), &["--steps", "1"]));
    let (base, judge, run) = (at("first/base"), at("judge"), at("run"));
    reward_model(&base, Path::new(&judge), f32::NAN);
    let flags = train(&run, &["--model", &base, "--reward", &judge]);
    let output = PART_8.command(&flags).output().expect("the program starts");
    let (said, error) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("no step was learned from"), "{error}");
    assert!(said.contains("step 4 is skipped: 8 of 8 scores are no numbers"), "{said}");
    let compare = ["eval", "--model", &base, "--reference", &base, "--reward", &judge];
    PART_8.refuses(&compare, 1, "scores are no numbers");
    reward_model(&base, Path::new(&judge), 0.1);
    PART_8.says(&flags.iter().copied().chain(["--steps", "1"]).collect::<Vec<_>>());
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_is_saved_and_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = path(folder.path(), "run");
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
    let said = PART_8.says(&["train", "--resume", "--out", &out, "--stop-after", &next]);
    assert!(said.contains(&format!("saved after step {next}")), "{said}");
}

#[test]
fn the_demo_shows_answers_before_and_after() {
    let text = PART_8.says(&["--steps", "1", "--threads", "2"]);
    assert!(
        text.contains("before") && text.contains("after") && text.contains("win rate"),
        "{text}"
    );
}

#[test]
fn bad_input_is_refused_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = path(folder.path(), "out");
    let refused = |more: &[&str], code, says: &str| PART_8.refuses(&train(&out, more), code, says);
    refused(&["--max-new-tokens", "0"], 2, "--max-new-tokens");
    refused(&["--temperature", "0"], 2, "temperature above 0");
    refused(&["--samples", "0"], 2, "--samples");
    refused(&["--batch-size", "1"], 2, "1 prompts are too few for 2 mini-batches");
    refused(&["--lambda", "1.5"], 2, "--lambda");
    refused(&["--gamma", "0"], 2, "--gamma");
    refused(&["--clip", "0"], 2, "--clip");
    refused(&["--dtype", "f16"], 2, "--dtype");
    refused(&["--kl-estimator", "k4"], 2, "invalid value 'k4'");
    refused(&["--demos", "noisy"], 2, "unexpected argument '--demos'");
    refused(&["--gamma", "-1"], 2, "--gamma");
    refused(&["--stop-at", "nan"], 2, "--stop-at");
    refused(&["--kl-target", "1", "--kl-coef", "0"], 2, "--kl-target");
    refused(&["--kl-horizon", "10"], 2, "--kl-target");
    refused(&["--form-credit", "0.1"], 2, "--form-credit");
    refused(&["--lora-dropout", "0.1"], 2, "--lora-rank");
    refused(&["--lora-rank", "2", "--lora-dropout", "0.1"], 2, "--lora-dropout");
    refused(&["--accumulate", "3"], 2, "4 prompts are too few for 2 mini-batches in 3 parts each");
    refused(&["--reward", "nowhere/at/all"], 1, "nowhere/at/all");
    refused(&["--reference", "nowhere/at/all"], 1, "nowhere/at/all");
    refused(&["--lora-rank", "2", "--lora-layers", "none"], 1, "none");
    refused(&["--data", "nowhere.jsonl"], 1, "nowhere.jsonl");
    refused(&["--model", "nowhere/at/all"], 1, "nowhere/at/all");
    assert!(!Path::new(&out).exists(), "nothing was written");
}
