//! The program as a user meets it: the demo, a run that is stopped and resumed, adapters, and what is said about bad input.

use std::path::Path;

use serde_json::Value;
use tensor_core::testing::{Program, path_arg};

const PART_7: Program = Program(env!("CARGO_BIN_EXE_part_7"));

/// A run of a few steps in `out`, with these flags besides.
fn train<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let small = "train --base-steps 2 --sft-steps 2 --n-layer 1 --n-head 2 --n-embd 16 --steps 4 --batch-size 4 --pairs 40 \
                 --eval-pairs 6 --log-interval 1 --tracker none";
    small.split_whitespace().chain(["--out", out]).chain(more.iter().copied()).collect()
}

#[test]
fn the_demo_scores_answers_and_draws_their_rewards() {
    let folder = tempfile::tempdir().expect("a folder");
    let picture = path_arg(folder.path(), "rewards.png");
    let text = PART_7.stdout(&["--base-steps", "2", "--steps", "3", "--out", &picture]);
    for said in ["accuracy", "longer or shorter", "calibration error", "The capital of"] {
        assert!(text.contains(said), "{said} in {text}");
    }
    assert!(Path::new(&picture).exists());
}

/// What a run wrote down, row by row.
fn rows(file: impl AsRef<Path>) -> Vec<Value> {
    let text = std::fs::read_to_string(file).expect("rows");
    text.lines().map(|row| serde_json::from_str(row).expect("JSON")).collect()
}

#[test]
fn a_run_is_trained_resumed_and_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, parts) = (path_arg(folder.path(), "whole"), path_arg(folder.path(), "parts"));
    let schedule = ["--warmup-steps", "2", "--lr-scheduler", "cosine"];
    PART_7.stdout(&train(&whole, &schedule));
    let text = PART_7.stdout(&train(&parts, &[&schedule[..], &["--stop-after", "2"]].concat()));
    assert!(text.contains("-p part_7 -- train --resume"), "{text}");
    PART_7.stdout(&["train", "--resume", "--out", &parts]);
    for file in ["model/model.safetensors", "model/tokenizer.json", "model/config.json"] {
        let read = |run: &str| std::fs::read(Path::new(run).join(file)).expect(file);
        assert_eq!(read(&whole), read(&parts), "{file}: in pieces as in one");
    }
    for file in ["metrics.jsonl", "loss.svg", "rewards.png", "base/model.safetensors"] {
        assert!(Path::new(&whole).join(file).exists(), "{file}");
    }
    let figures = rows(Path::new(&whole).join("metrics.jsonl"));
    let looks = figures.iter().filter(|row| row["val_accuracy"].is_number());
    assert_eq!(looks.map(|row| row["step"].as_u64()).collect::<Vec<_>>(), [Some(0), Some(4)]);
    let rates: Vec<f64> = figures.iter().filter_map(|row| row["lr"].as_f64()).collect();
    assert!(rates[0] < rates[1] && rates[1] > rates[2] && rates[2] > rates[3], "{rates:?}");

    let picture = path_arg(folder.path(), "made/eval.png");
    let found = PART_7.stdout_json(&["eval", "--model", &whole, "--histogram", &picture, "--json"]);
    for key in ["n", "accuracy", "margin", "length_correlation", "length_only_accuracy"] {
        assert!(found[key].is_number(), "{key} in {found}");
    }
    assert_eq!(found["n"], 500);
    assert!(found["length_only_accuracy"].as_f64().expect("a number") < 0.53, "{found}");
    assert!(Path::new(&picture).exists());
    let some = ["eval", "--model", &whole, "--data", "manners", "--n", "20", "--json"];
    assert_eq!(PART_7.stdout_json(&some)["n"], 20);
    for (flag, said) in [("--lr", "lr was 0.0005 and is 5"), ("--eval-pairs", "eval_pairs was 6")] {
        PART_7.assert_fails(&["train", "--resume", "--out", &whole, flag, "5"], 1, said);
    }
    let base = path_arg(folder.path(), "whole/base");
    PART_7.assert_fails(&train(&whole, &["--model", &base]), 1, "which would be moved aside");
    PART_7.assert_fails(&["eval", "--model", &base], 1, "has no reward head");
    let model = path_arg(folder.path(), "whole/model");
    PART_7.assert_fails(&["collect", "--model", &model], 1, "is a reward model");
    let encoder = train(&parts, &["--model", &model, "--architecture", "encoder"]);
    PART_7.assert_fails(&encoder, 1, "is a reward model already");
    std::fs::remove_dir_all(path_arg(folder.path(), "parts/base")).expect("a base");
    PART_7.assert_fails(&["train", "--resume", "--out", &parts], 1, "which the run began with");
    std::fs::remove_dir_all(path_arg(folder.path(), "parts/checkpoints")).expect("checkpoints");
    PART_7.assert_fails(&["train", "--resume", "--out", &parts], 1, "has no checkpoint yet");
}

#[test]
fn what_is_asked_for_reaches_the_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = path_arg(folder.path(), "rows.jsonl");
    let row = |i: usize| {
        format!("{{\"prompt\": \"{i}?\", \"chosen\": \"yes\", \"rejected\": \"no {i}\"}}\n")
    };
    std::fs::write(&data, (0..20).map(row).collect::<String>()).expect("a file");
    let [first, second, third] =
        ["first", "second", "third"].map(|run| path_arg(folder.path(), run));
    let read = |file: &str| rows(folder.path().join(file).with_extension("jsonl"));
    let loss = |run: &str| read(&format!("{run}/metrics"))[1]["loss"].as_f64().expect("a loss");

    let other = ["--architecture", "encoder", "--loss", "margin", "--margin", "50"];
    PART_7.stdout(&train(&first, &[&other[..], &["--template", "dialogue"]].concat()));
    assert!(
        (loss("first") - 50.).abs() < 10.,
        "a margin of 50 costs about as much: {}",
        loss("first")
    );
    let said = |file: &str| std::fs::read_to_string(folder.path().join(file)).expect(file);
    assert!(said("first/model/config.json").contains("EncoderForSequenceClassification"));
    assert!(said("first/model/tokenizer_config.json").contains("User: "));

    let base = path_arg(folder.path(), "first/base");
    let lora = ["--model", &base, "--lora-rank", "2", "--data", &data, "--context-len", "6"];
    let split = ["--test", "0.2", "--center-rewards-coefficient", "1e6"];
    let text = PART_7.stdout(&train(&second, &[&lora[..], &split].concat()));
    for part in ["are trained", "lost their beginning", "2 to choose the model by, 4 apart"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(loss("second") > 1e3, "uncentred scores cost a million times their square");
    assert_eq!(PART_7.stdout_json(&["eval", "--model", &second, "--json"])["n"], 4);
    let text = PART_7.stdout(&["eval", "--model", &second, "--data", &data]);
    assert!(text.contains("has learned from 14 of these pairs"), "{text}");

    let passes = ["--model", &first, "--data", "manners", "--stop-at", "0.01", "--json"];
    let found = PART_7.stdout_json(&train(&third, &passes));
    assert_eq!((&found["target_reached"], &found["step"]), (&true.into(), &0.into()));
    PART_7.stdout(&["train", "--resume", "--out", &third]);
}

#[test]
fn bad_input_is_refused_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = path_arg(folder.path(), "rows.jsonl");
    std::fs::write(
        &file,
        "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n{\"prompt\": \"a\"}\n",
    )
    .expect("a file");
    let out = path_arg(folder.path(), "out");
    let refused =
        |more: &[&str], code, says: &str| PART_7.assert_fails(&train(&out, more), code, says);
    refused(&["--data", &file], 1, "rows.jsonl:2: there is no column `chosen`");
    refused(&["--data", &file, "--columns", "nonsense"], 2, "expected WHAT=COLUMN");
    refused(&["--columns", "chosen=better"], 2, "--columns is for files");
    refused(&["--data", "nowhere.jsonl"], 1, "nowhere.jsonl");
    refused(&["--dtype", "f16"], 2, "--dtype");
    refused(&["--loss", "poem"], 2, "invalid value 'poem'");
    refused(&["--loss", "margin", "--margin", "-1"], 2, "--margin");
    refused(&["--margin", "1"], 2, "--margin is for --loss margin");
    refused(&["--n-head", "3"], 2, "heads");
    refused(&["--stop-at", "1.5"], 2, "--stop-at");
    refused(&["--validation", "1"], 2, "must be below 1");
    refused(&["--lora-dropout", "0.1"], 2, "give a --lora-rank");
    refused(&["--lora-rank", "2", "--merge"], 2, "--merge");
    refused(&["--context-len", "9999"], 1, "the model reads up to 128 tokens");
    refused(&["--lora-rank", "500"], 1, "say no more than those of rank");
    refused(&["--template", "chatml"], 1, "<|im_start|> is no token of this model");
    refused(&["--model", "nowhere/at/all"], 1, "nowhere/at/all");
    PART_7.assert_fails(&["eval", "--model", "nowhere"], 1, "there is no folder nowhere");
    let picture = format!("{file}/in/a/file.png");
    PART_7.assert_fails(&["eval", "--model", "nowhere", "--histogram", &picture], 1, "creating");
    for wrong in [["--group-size", "1"], ["--max-new-tokens", "0"]] {
        PART_7.assert_fails(
            &[&["collect", "--model", "nowhere"], &wrong[..]].concat(),
            2,
            wrong[0],
        );
    }
    assert!(!Path::new(&out).exists(), "nothing was written");
}
