//! The program as a user meets it: the demo, a run that is stopped and resumed, adapters, collecting, and what is said about bad
//! input.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use tensor_core::testing::{Program, path};

const PART_7: Program = Program(env!("CARGO_BIN_EXE_part_7"));

/// A run of a few steps in `out`, with these flags besides.
fn train<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let small = "train --base-steps 2 --sft-steps 2 --n-layer 1 --n-head 2 --n-embd 16 --steps 4 --batch-size 4 --pairs 40 \
                 --eval-pairs 6 --log-interval 1 --log none";
    small.split_whitespace().chain(["--out", out]).chain(more.iter().copied()).collect()
}

#[test]
fn the_demo_scores_answers_and_draws_their_rewards() {
    let folder = tempfile::tempdir().expect("a folder");
    let picture = path(folder.path(), "rewards.png");
    let text = PART_7.says(&["--base-steps", "2", "--steps", "3", "--out", &picture]);
    for said in ["accuracy", "longer or shorter", "calibration error", "The capital of"] {
        assert!(text.contains(said), "{said} in {text}");
    }
    assert!(Path::new(&picture).exists());
}

#[test]
fn a_run_is_trained_resumed_and_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, parts) = (path(folder.path(), "whole"), path(folder.path(), "parts"));
    PART_7.says(&train(&whole, &[]));
    let text = PART_7.says(&train(&parts, &["--stop-after", "2"]));
    assert!(text.contains("part_7 train --resume"), "{text}");
    PART_7.says(&["train", "--resume", "--out", &parts]);
    for file in ["model/model.safetensors", "model/tokenizer.json", "model/config.json"] {
        let read = |run: &str| std::fs::read(Path::new(run).join(file)).expect(file);
        assert_eq!(read(&whole), read(&parts), "{file}: in pieces as in one");
    }
    for file in ["metrics.jsonl", "loss.svg", "rewards.png", "base/model.safetensors"] {
        assert!(Path::new(&whole).join(file).exists(), "{file}");
    }
    let picture = path(folder.path(), "eval.png");
    let found = PART_7.says_json(&["eval", "--model", &whole, "--histogram", &picture, "--json"]);
    for key in ["n", "accuracy", "margin", "length_correlation", "length_only_accuracy"] {
        assert!(found[key].is_number(), "{key} in {found}");
    }
    assert_eq!(found["n"], 500);
    assert!(found["length_only_accuracy"].as_f64().expect("a number") < 0.53, "{found}");
    assert!(Path::new(&picture).exists());
    let args = ["train", "--resume", "--out", &whole, "--lr", "0.5"];
    PART_7.refuses(&args, 1, "lr was 0.0005 and is 0.5");
    let base = path(folder.path(), "whole/base");
    PART_7.refuses(&train(&whole, &["--model", &base]), 1, "which would be moved aside");
    PART_7.refuses(&["eval", "--model", &base], 1, "has no reward head");
}

#[test]
fn a_model_is_adapted_trained_on_and_asked_about_pairs_of_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (path(folder.path(), "first"), path(folder.path(), "second"));
    let rows = path(folder.path(), "rows.jsonl");
    let row = |i: usize| {
        format!("{{\"prompt\": \"{i}?\", \"chosen\": \"yes\", \"rejected\": \"no {i}\"}}\n")
    };
    std::fs::write(&rows, (0..20).map(row).collect::<String>()).expect("a file");
    PART_7.says(&train(&first, &["--architecture", "encoder", "--loss", "margin"]));
    let base = path(folder.path(), "first/base");
    let lora = ["--model", &base, "--lora-rank", "2", "--data", &rows, "--block-size", "6"];
    let text = PART_7.says(&train(&second, &lora));
    assert!(text.contains("are trained") && text.contains("lost their beginning"), "{text}");
    let more = ["--model", &first, "--data", "manners", "--centring", "0.1"];
    PART_7.says(&train(&path(folder.path(), "third"), &more));
    for run in [&first, &second] {
        let found = PART_7.says_json(&["eval", "--model", run, "--data", &rows, "--json"]);
        assert_eq!(found["n"], 20);
    }
    let encoder = ["--model", &second, "--architecture", "encoder"];
    let out = path(folder.path(), "none");
    PART_7.refuses(&train(&out, &encoder), 1, "is a reward model already");
}

#[test]
fn preferences_are_collected_by_a_rule_or_a_person_and_learned_from() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = path(folder.path(), "run");
    PART_7.says(&train(&run, &[]));
    let (base, mine) = (path(folder.path(), "run/base"), path(folder.path(), "mine.jsonl"));
    let collect = |more: &[&'static str]| {
        let args = ["collect", "--model", &base, "--out", &mine, "--max-new-tokens", "4"];
        let mut args: Vec<String> = args.map(String::from).into();
        args.extend(more.iter().map(|&arg| String::from(arg)));
        args
    };
    let rows = || std::fs::read_to_string(&mine).expect("rows").lines().count();
    let shorter = collect(&["--rule", "shorter", "--questions", "12"]);
    let shorter: Vec<&str> = shorter.iter().map(String::as_str).collect();
    PART_7.says(&shorter);
    let found = rows();
    assert!(found > 2, "{found} rows");
    PART_7.says(&shorter);
    assert_eq!(rows(), found, "collected already");

    // A person chooses twice, mistypes, skips, and leaves.
    let asked = collect(&["--questions", "60"]);
    let mut asked = PART_7
        .command(&asked.iter().map(String::as_str).collect::<Vec<_>>())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    asked.stdin.take().expect("a pipe").write_all(b"1\nwhat\n2\ns\nq\n").expect("typed");
    let said = asked.wait_with_output().expect("it ends");
    assert!(said.status.success());
    assert!(String::from_utf8_lossy(&said.stdout).contains("better: 1 or 2"), "it asks");
    assert_eq!(rows(), found + 2);
    let out = path(folder.path(), "mine");
    PART_7.says(&train(&out, &["--data", &mine]));
}

#[test]
fn bad_input_is_refused_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = path(folder.path(), "rows.jsonl");
    std::fs::write(
        &file,
        "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n{\"prompt\": \"a\"}\n",
    )
    .expect("a file");
    let out = path(folder.path(), "out");
    let refused = |more: &[&str], code, says: &str| PART_7.refuses(&train(&out, more), code, says);
    refused(&["--data", &file], 1, "rows.jsonl:2: there is no column `chosen`");
    refused(&["--data", &file, "--columns", "nonsense"], 2, "expected WHAT=COLUMN");
    refused(&["--data", "nowhere.jsonl"], 1, "nowhere.jsonl");
    refused(&["--dtype", "f16"], 2, "--dtype");
    refused(&["--loss", "poem"], 2, "invalid value 'poem'");
    refused(&["--margin", "-1"], 2, "--margin");
    refused(&["--n-head", "3"], 2, "heads");
    refused(&["--stop-at", "1.5"], 2, "--stop-at");
    refused(&["--model", "nowhere/at/all"], 1, "nowhere/at/all");
    PART_7.refuses(&["eval", "--model", "nowhere"], 1, "there is no folder nowhere");
    assert!(!Path::new(&out).exists(), "nothing was written");
}
