//! End-to-end tests of `train`, `sample` and `eval`, and of messages about bad input.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use tensor_core::testing::{Program, assert_close, path_arg};

const PART_4: Program = Program(env!("CARGO_BIN_EXE_part_4"));

/// Trains on a text of 40 documents with `flags`; returns the folder, the run folder and the
/// report.
fn train(flags: &[&str]) -> (TempDir, String, Value) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (data, out) = (write_text(folder.path(), 40), path_arg(folder.path(), "run"));
    let report = PART_4.stdout_json(&[&small_run(&data, &out)[..], flags].concat());
    (folder, out, report)
}

/// Writes a text file with `n_documents` documents.
fn write_text(folder: &Path, n_documents: usize) -> String {
    let file = path_arg(folder, "text.txt");
    let stories: Vec<String> =
        (0..n_documents).map(|i| format!("The cat number {i} sat on the mat and slept.")).collect();
    std::fs::write(&file, stories.join("\n<|endoftext|>\n")).expect("a text");
    file
}

/// Arguments of `train` for a small model and a short run.
fn small_run<'a>(data: &'a str, out: &'a str) -> Vec<&'a str> {
    let sizes = ["--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--context-len", "16"];
    let run =
        ["--steps", "40", "--batch-size", "4", "--vocab-size", "300", "--eval-interval", "20"];
    let log = ["--log-interval", "5", "--sample-len", "8", "--json"];
    [&["train", "--data", data, "--out", out][..], &sizes, &run, &log].concat()
}

/// Rows of the metrics of a run.
fn metrics_rows(run: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(format!("{run}/metrics.jsonl")).expect("metrics");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn the_smallest_vocabulary_is_bytes_alone() {
    let (_folder, run, _) = train(&["--vocab-size", "261", "--steps", "2"]);
    let tokenizer = std::fs::read(format!("{run}/model/tokenizer.json")).expect("a tokenizer");
    let tokenizer: Value = serde_json::from_slice(&tokenizer).expect("JSON");
    assert_eq!(tokenizer["model"]["merges"].as_array().map(Vec::len), Some(0));
    let eval = ["eval", "--model", &run, "--json"];
    let text = format!("{run}/../text.txt");
    let metrics = PART_4.stdout_json(&[&eval[..], &["--data", &text]].concat());
    assert!(metrics["bits_per_byte"].is_number(), "{metrics}");
}

#[test]
fn a_run_lowers_its_loss_and_its_model_can_be_sampled_and_evaluated() {
    let (folder, run, report) = train(&["--n-kv-head", "1", "--dropout", "0.1"]);
    let rows = metrics_rows(&run);
    let losses: Vec<f64> = rows.iter().filter_map(|row| row["loss"].as_f64()).collect();
    assert_eq!(losses.len(), 8);
    assert!(losses[7] < losses[0] - 0.5, "{losses:?}");
    let lrs: Vec<f64> = rows.iter().filter_map(|row| row["lr"].as_f64()).collect();
    assert!((lrs[7] - 3e-4).abs() < 1e-12 && lrs.is_sorted_by(|a, b| a > b), "{lrs:?}");
    let first_row = rows.iter().find(|row| row["loss"].is_number()).expect("a row of training");
    for key in ["grad_norm", "param_norm", "tokens_per_s", "step_time_s", "mfu", "tokens", "epoch"]
    {
        assert!(first_row[key].is_number(), "{key}: {first_row}");
    }
    let validations: Vec<&Value> = rows.iter().filter(|row| row["val_loss"].is_number()).collect();
    let steps: Vec<&Value> = validations.iter().map(|row| &row["step"]).collect();
    assert_eq!(steps, [0, 20, 40], "the first before training");
    assert!(rows.iter().any(|row| row["layer_0/queries_rms"].is_number()));
    assert!(Path::new(&run).join("loss.svg").exists());
    let names = std::fs::read_dir(&run)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name());
    assert!(
        names.into_iter().any(|name| name.to_string_lossy().starts_with("events.out.tfevents"))
    );

    // The validation loss equals that of the run; the text as a whole has more tokens.
    let data = format!("{run}/data");
    let eval =
        |data: &str| PART_4.stdout_json(&["eval", "--model", &run, "--data", data, "--json"]);
    let validation = eval(&data);
    let best = report["loss"].as_f64().expect("a loss");
    assert_close(validation["loss"].as_f64().expect("a loss"), best, 1e-5);
    let bits = validations[2]["bits_per_byte"].as_f64().expect("bits");
    assert_close(validation["bits_per_byte"].as_f64().expect("bits"), bits, 1e-5);
    let all = eval(&path_arg(folder.path(), "text.txt"));
    assert!(all["tokens"].as_u64() > validation["tokens"].as_u64());

    let sample = |model: &str, seed: &str| {
        PART_4.stdout(&[
            "sample",
            "--model",
            model,
            "--prompt",
            "The cat",
            "--seed",
            seed,
            "--max-new-tokens",
            "9",
        ])
    };
    let completion = sample(&run, "1");
    assert!(completion.starts_with("The cat"), "{completion}");
    assert_eq!(completion, sample(&format!("{run}/model"), "1"));
    assert_ne!(completion, sample(&run, "2"));
}

#[test]
fn pretraining_continues_with_the_weights_and_the_tokenizer_of_a_model() {
    let (folder, run, _) = train(&[]);
    let (model, rows) = (format!("{run}/model"), path_arg(folder.path(), "rows.jsonl"));
    let row = |i| format!("{{\"text\": \"A dog of {i} years sat on\\nthe mat.\"}}\n");
    std::fs::write(&rows, (0..30).map(row).collect::<String>()).expect("rows");
    let flags = "--context-len 8 --steps 12 --batch-size 4 --eval-interval 0 --sample-len 4 \
        --threads 2 --json";
    let continued = |out: &str, more: &[&str]| -> Vec<String> {
        let args = ["train", "--model", &model, "--data", &rows, "--out", out];
        let args = args.into_iter().chain(flags.split_whitespace()).chain(more.iter().copied());
        args.map(String::from).collect()
    };
    let strings = |args: &[String]| args.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    let run_with =
        |args: &[String]| PART_4.stdout_json(&strings(args).split('\n').collect::<Vec<_>>());

    // Temporary tokens of a process that was killed, and of one that runs.
    let [abandoned, used] = [".tokens-abandoned", ".tokens-used"].map(|name| {
        let tokens = folder.path().join(name);
        std::fs::create_dir(&tokens).expect("a folder");
        std::fs::write(tokens.join(".lock"), "").expect("a file");
        tokens
    });
    let lock = std::fs::File::open(used.join(".lock")).expect("a file");
    lock.lock().expect("a lock");

    let (whole, parts) = (path_arg(folder.path(), "whole"), path_arg(folder.path(), "parts"));
    let report = run_with(&continued(&whole, &[]));
    assert!(!abandoned.exists() && used.exists());
    let before = metrics_rows(&whole)[0]["val_loss"].as_f64().expect("a loss before training");
    let data = format!("{whole}/data");
    let eval = ["eval", "--model", &model, "--data", &data, "--context-len", "8", "--json"];
    assert_close(PART_4.stdout_json(&eval)["loss"].as_f64().expect("a loss"), before, 1e-5);
    assert!(report["loss"].as_f64().expect("a loss") < before - 0.1, "{before} {report}");
    let read = |file: String| std::fs::read(&file).expect("a file");
    for file in ["tokenizer.json", "config.json"] {
        assert_eq!(
            read(format!("{whole}/model/{file}")),
            read(format!("{model}/{file}")),
            "{file}"
        );
    }

    run_with(&continued(&parts, &["--stop-after", "5"]));
    PART_4.stdout(&["train", "--resume", "--out", &parts]);
    let weights = |out: &str| read(format!("{out}/model/model.safetensors"));
    assert_eq!(weights(&whole), weights(&parts), "resumed and uninterrupted");

    let refused = |more: &[&str], code, message: &str| {
        let args = continued(&path_arg(folder.path(), "refused"), more);
        PART_4.assert_fails(&strings(&args).split('\n').collect::<Vec<_>>(), code, message);
    };
    refused(&["--n-layer", "2"], 2, "are those of a new model");
    refused(&["--tokenizer", &model], 2, "--tokenizer");
    refused(&["--adapter", "a"], 2, "`part_6 merge --model MODEL --adapter a --out DIR`");
    let adapter = path_arg(folder.path(), "adapter");
    std::fs::create_dir(&adapter).expect("a folder");
    std::fs::write(format!("{adapter}/adapter_config.json"), "{}").expect("a file");
    refused(&["--model", &adapter], 1, "is an adapter, not a model: write a model with `part_6");
    refused(&["--context-len", "17"], 1, "the model's context is 16 tokens");
}

#[test]
fn the_data_folder_of_a_run_can_be_reused_by_another() {
    let (folder, run, first) = train(&["--eval-windows", "18446744073709551615"]);
    let (data, next) = (format!("{run}/data"), path_arg(folder.path(), "next"));
    let second = PART_4.stdout_json(&small_run(&data, &next));
    assert_eq!(first["loss"], second["loss"], "equal tokens and seeds give equal runs");
    assert!(!Path::new(&next).join("data").exists());
    // The text with the tokenizer that the first run trained on it.
    let third = path_arg(folder.path(), "third");
    let file = path_arg(folder.path(), "text.txt");
    let args = [&small_run(&file, &third)[..], &["--tokenizer", &data]].concat();
    assert_eq!(PART_4.stdout_json(&args)["loss"], first["loss"]);
}

#[test]
fn each_tracker_writes_only_its_own_files() {
    for (kind, expected) in [("wandb", "wandb"), ("none", "")] {
        let (_folder, run, _) = train(&["--tracker", kind]);
        let names = std::fs::read_dir(&run).expect("a folder");
        let mut names: Vec<String> = names
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into())
            .collect();
        names.retain(|name| name.starts_with("wandb") || name.starts_with("events"));
        assert_eq!(names.concat(), expected);
    }
}

#[test]
fn settings_are_read_from_a_file_and_saved_for_another_run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (data, out) = (write_text(folder.path(), 20), path_arg(folder.path(), "run"));
    let file = path_arg(folder.path(), "run.yaml");
    let yaml = format!(
        "data: {data}\nout: {out}\nn_layer: 1\nn_head: 2\nn_embd: 16\nblock_size: 16\n\
         vocab_size: 280\nsteps: 9\nlr: 1e-2\nlog: none\n"
    );
    std::fs::write(&file, yaml).expect("settings");
    PART_4.stdout(&[
        "train", "--config", &file, "--set", "steps=6", "--set", "lr=0.002", "--lr", "0.001",
    ]);
    let config = std::fs::read_to_string(format!("{out}/config.json")).expect("settings");
    let config: Value = serde_json::from_str(&config).expect("JSON");
    assert_eq!(
        (&config["steps"], &config["lr"], &config["n_embd"]),
        (&6.into(), &0.001.into(), &16.into())
    );
    // The saved settings are a valid settings file.
    let again = path_arg(folder.path(), "again");
    PART_4.stdout(&["train", "--config", &format!("{out}/config.json"), "--out", &again]);
    let weights =
        |run: &str| std::fs::read(format!("{run}/model/model.safetensors")).expect("weights");
    assert!(weights(&out) == weights(&again));
}

#[test]
fn a_single_long_document_trains_and_is_validated_on_its_last_tenth() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/tiny.txt");
    let out = path_arg(folder.path(), "run");
    let text = PART_4.stdout(&[&small_run(data, &out)[..], &["--steps", "2"]].concat());
    assert!(text.contains("a single document: its last 10 % are the validation text"), "{text}");
    assert!(text.contains("training tokens in 1 documents"), "{text}");
    assert!(metrics_rows(&out).iter().any(|row| row["val_loss"].is_number()));
}

#[test]
fn bad_input_is_refused_in_one_line_without_overwriting_anything() {
    let (folder, run, _) = train(&["--tracker", "none"]);
    let before = std::fs::read(format!("{run}/metrics.jsonl")).expect("metrics");
    let file = |name: &str, bytes: &str| {
        std::fs::write(folder.path().join(name), bytes).expect("a file");
        path_arg(folder.path(), name)
    };
    let good = path_arg(folder.path(), "text.txt");
    let refuses = |data: &str, flags: &[&str], code, text: &str| {
        PART_4.assert_fails(
            &[&["train", "--data", data, "--out", &run][..], flags].concat(),
            code,
            text,
        );
    };
    refuses(&file("empty.txt", ""), &[], 1, "empty.txt is empty");
    refuses(&path_arg(folder.path(), "none.txt"), &[], 1, "none.txt");
    refuses(&good, &["--vocab-size", "260"], 2, "must be at least 261");
    refuses(&good, &["--tokenizer", "nowhere"], 1, "nowhere");
    refuses(&good, &["--min-lr", "0.1"], 2, "--min-lr 0.1 is above the learning rate of 0.003");
    refuses(&good, &["--steps", "9", "--warmup-steps", "10"], 2, "than the 9 steps");
    refuses(&good, &["--batch-size", "18446744073709551615"], 2, "at most 4194304 tokens");
    refuses(
        &good,
        &["--grad-accum-steps", "1000000000000"],
        2,
        "--grad-accum-steps must be at most",
    );
    refuses(&good, &["--stop-after", "0"], 2, "--stop-after");
    refuses(&good, &["--n-head", "3"], 2, "256");
    refuses(&good, &["--dtype", "int8"], 2, "--dtype");
    refuses(&good, &["--set", "n_layr=3"], 2, "the nearest is `n_layer`");
    refuses(&good, &["--config", &file("bad.yaml", "steps: [1]")], 1, "bad.yaml");
    refuses(&good, &["--n-embd", "4000000"], 1, "lower --n-embd");
    let tokens = format!("{run}/data/train.safetensors");
    let mut bytes = std::fs::read(&tokens).expect("tokens");
    let last = bytes.len() - 200;
    bytes[last] ^= 1;
    std::fs::write(&tokens, bytes).expect("damaged");
    refuses(&format!("{run}/data"), &[], 1, "which would be moved aside");
    let other = path_arg(folder.path(), "other");
    PART_4.assert_fails(
        &["train", "--data", &format!("{run}/data"), "--out", &other],
        1,
        "damaged",
    );
    assert!(!Path::new(&other).exists());
    assert_eq!(std::fs::read(format!("{run}/metrics.jsonl")).expect("metrics"), before);
    assert!(!Path::new(&format!("{run}.previous")).exists());
    let inside = path_arg(folder.path(), "text.txt/run");
    PART_4.assert_fails(&["train", "--data", &good, "--out", &inside], 1, "text.txt");
    PART_4.assert_fails(&["sample", "--model", "nowhere"], 1, "there is no nowhere");
    PART_4.assert_fails(
        &["eval", "--model", &run, "--data", &file("e.txt", " ")],
        1,
        "e.txt is empty",
    );
}
