//! Tests of the program: the demo, the three subcommands, and the errors for bad input.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tensor_core::testing::{Program, path_arg};

const PART_2: Program = Program(env!("CARGO_BIN_EXE_part_2"));

/// A folder with `text.txt` and the folder `run` of a short training run on it; the JSON result.
fn trained() -> (TempDir, Value) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = "the cat sat on the mat. ".repeat(40);
    std::fs::write(folder.path().join("text.txt"), text).expect("a text");
    let data = path_arg(folder.path(), "text.txt");
    let run = path_arg(folder.path(), "run");
    let result = PART_2.stdout_json(&train_args(&data, &run, "12"));
    (folder, result)
}

fn train_args<'a>(data: &'a str, out: &'a str, steps: &'a str) -> Vec<&'a str> {
    let mut args = vec!["train", "--data", data, "--out", out, "--json"];
    args.extend(["--steps", steps, "--eval-interval", steps, "--sample-len", "8"]);
    args.extend(["--n-layer", "1", "--n-head", "2", "--n-embd", "16"]);
    args.extend(["--context-len", "8", "--batch-size", "4"]);
    args
}

#[test]
fn the_demo_prints_samples_before_and_after_and_the_loss() {
    let text = PART_2.stdout(&["--steps", "2"]);
    assert!(
        text.contains("sample after 0 steps") && text.contains("sample after 2 steps"),
        "{text}"
    );
    assert!(text.contains("validation loss") && text.contains("bits"), "{text}");
}

#[test]
fn a_trained_model_can_be_evaluated_and_sampled() {
    let (folder, result) = trained();
    let (model, data) = (path_arg(folder.path(), "run/model"), path_arg(folder.path(), "text.txt"));
    let metrics = PART_2.stdout_json(&["eval", "--model", &model, "--data", &data, "--json"]);
    let keys: Vec<&String> = metrics.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["loss", "bits_per_byte", "tokens"]);
    // The batch sizes differ, so the sums are rounded differently.
    let loss = |result: &Value| result["loss"].as_f64().expect("a number");
    let difference = (loss(&metrics) - loss(&result)).abs();
    assert!(difference < 1e-5, "the saved model is the best one");
    let all = PART_2.stdout(&["eval", "--model", &model, "--data", &data, "--split", "all"]);
    assert!(all.contains("over 959 bytes"));
    let run = path_arg(folder.path(), "run");
    let of_run = PART_2.stdout_json(&["eval", "--model", &run, "--data", &data, "--json"]);
    assert_eq!(of_run, metrics, "a run folder names its model");

    let sample = |seed: &str| {
        let args =
            ["sample", "--model", &model, "--prompt", "the", "--seed", seed, "--top-p", "0.9"];
        PART_2.stdout(&[args.as_slice(), &["--max-new-tokens", "20"]].concat())
    };
    assert!(sample("1").starts_with("the"));
    assert_eq!(sample("1"), sample("1"));
    assert_ne!(sample("1"), sample("2"));
}

#[test]
fn epochs_a_warmup_ratio_and_bf16_are_settings_of_the_run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (data, out) = (path_arg(folder.path(), "text.txt"), path_arg(folder.path(), "run"));
    std::fs::write(&data, "the cat sat on the mat. ".repeat(40)).expect("a text");
    let mut args = train_args(&data, &out, "12");
    args.retain(|&arg| arg != "--steps" && arg != "--eval-interval" && arg != "12");
    PART_2.stdout(
        &[&args[..], &["--epochs", "0.5", "--warmup-ratio", "0.25", "--dtype", "bf16"]].concat(),
    );
    let config = std::fs::read(Path::new(&out).join("config.json")).expect("settings");
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    let train = &config["train"];
    // 864 training bytes in steps of 4 windows of 8: 27 steps an epoch.
    assert_eq!((&train["steps"], &train["warmup_steps"]), (&14.into(), &4.into()), "{train}");
    assert_eq!(train["dtype"], "bf16");
    let rows = std::fs::read_to_string(Path::new(&out).join("metrics.jsonl")).expect("metrics");
    let rows: Vec<Value> =
        rows.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let row = rows.iter().find(|row| row["step"] == 10 && row["loss"].is_number());
    let row = row.expect("a row of step 10");
    assert!(row["step_time_s"].as_f64().is_some_and(|seconds| seconds > 0.), "{row}");
    assert!(row["param_norm"].as_f64().is_some_and(|norm| norm > 1.), "{row}");
    assert!(rows.iter().any(|row| row["sample"].is_string()), "samples are in the rows");
    let refused = |more: &[&str], message| {
        PART_2.assert_fails(&[&args[..], more].concat(), 2, message);
    };
    refused(&["--epochs", "1", "--steps", "3"], "cannot be used with");
    refused(&["--warmup-steps", "9", "--steps", "3"], "more than the 3 steps");
    refused(&["--warmup-ratio", "1.5"], "must be at most 1");
    refused(&["--dtype", "f16"], "use bf16 here");
}

#[test]
fn wrong_arguments_exit_with_code_2_and_one_line() {
    let sample = |more: &[&'static str]| [&["sample", "--model", "nowhere"], more].concat();
    PART_2.assert_fails(&sample(&["--top-p", "0"]), 2, "above 0 and at most 1");
    PART_2.assert_fails(&sample(&["--temperature", "-1"]), 2, "must be 0 (greedy) or above");
    PART_2.assert_fails(&sample(&["--temperature", "nan"]), 2, "not a finite number");
    PART_2.assert_fails(&sample(&["--top-k", "0"]), 2, "--top-k");
    PART_2.assert_fails(&sample(&["--threads", "0"]), 2, "--threads");
    PART_2.assert_fails(&sample(&["--device", "tpu"]), 2, "expected auto, cpu, cuda or cuda:N");
    if cfg!(not(feature = "cuda")) {
        PART_2.assert_fails(&sample(&["--device", "cuda"]), 2, "this build has no CUDA");
    }
    PART_2.assert_fails(&["train"], 2, "--data");
    PART_2.assert_fails(&["train", "--data", "x", "--stepz", "3"], 2, "--stepz");
    PART_2.assert_fails(
        &["train", "--data", "x", "--n-embd", "30"],
        2,
        "n_embd 30 is not divisible by n_head 4",
    );
    PART_2.assert_fails(
        &["train", "--data", "x", "--batch-size", "99999999999"],
        2,
        "at most 4194304 tokens",
    );
    PART_2.assert_fails(&["train", "--data", "x", "--context-len", "0"], 2, "--context-len");
    PART_2.assert_fails(&["train", "--data", "x", "--dropout", "1"], 2, "below 1");
    PART_2.assert_fails(&["train", "--data", "x", "--lr", "-1"], 2, "above 0");
}

#[test]
fn bad_files_exit_with_code_1_and_one_line_and_write_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (data, out) = (path_arg(folder.path(), "text.txt"), path_arg(folder.path(), "run"));
    PART_2.assert_fails(&train_args(&data, &out, "12"), 1, "text.txt: No such file");
    std::fs::write(&data, "").expect("a file");
    PART_2.assert_fails(&train_args(&data, &out, "12"), 1, "text.txt is empty");
    std::fs::write(&data, "too short a text").expect("a file");
    PART_2.assert_fails(&train_args(&data, &out, "12"), 1, "the validation part has 2 tokens");
    PART_2.assert_fails(&["sample", "--model", &out], 1, "run/config.json: No such file");
    assert!(!Path::new(&out).exists());
    std::fs::write(&data, b"\xFF\x00\xC3 any bytes will do ".repeat(30)).expect("a file");
    PART_2.stdout(&train_args(&data, &out, "12"));
}

#[cfg(unix)]
#[test]
fn an_interrupt_saves_the_model_and_exits_with_code_0() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (data, out) = (path_arg(folder.path(), "text.txt"), path_arg(folder.path(), "run"));
    std::fs::write(&data, "the cat sat on the mat. ".repeat(40)).expect("a file");
    let args = train_args(&data, &out, "100000000");
    let mut child = PART_2.command(&args).spawn().expect("it starts");
    let metrics = Path::new(&out).join("metrics.jsonl");
    while std::fs::metadata(&metrics).map_or(0, |file| file.len()) == 0 {
        assert!(child.try_wait().expect("a child").is_none(), "it ended too early");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("kill").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert!(Path::new(&out).join("model/model.safetensors").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_model_too_large_for_the_memory_is_refused_before_allocation() {
    for size in [["--n-embd", "1000000"], ["--n-layer", "18446744073709551615"]] {
        let args = [&["train", "--data", "nowhere"][..], &size].concat();
        PART_2.assert_fails(&args, 1, "lower --n-embd or --n-layer");
    }
}

#[test]
fn a_run_with_a_closed_stdout_saves_its_model_and_exits_with_code_1() {
    let (folder, _) = trained();
    let (data, run) = (path_arg(folder.path(), "text.txt"), path_arg(folder.path(), "closed"));
    let mut args = train_args(&data, &run, "10"); // every tenth step is evaluated and printed
    args.retain(|&arg| arg != "--json");
    let steps = args.iter().position(|&arg| arg == "--steps").expect("a number of steps");
    args[steps + 1] = "1000000";
    for stderr_is_open in [true, false] {
        let mut command = PART_2.command(&args);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("part_2 starts");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        out.lines()
            .map_while(Result::ok)
            .find(|line| line.starts_with("step 10:"))
            .expect("it trains");
        if !stderr_is_open {
            drop(child.stderr.take());
        }
        let output = child.wait_with_output().expect("it ends");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1), "{:?}", output.status);
        assert_eq!(stderr.contains("stdout was closed"), stderr_is_open, "{stderr}");
        let model = Path::new(&run).join("model");
        assert!(model.join("model.safetensors").exists());
        std::fs::remove_dir_all(&model).expect("removed");
    }
}
