//! The program as a user runs it: the demo, a stopped and resumed run, adapters, and error
//! messages.

use std::path::Path;

use candle_core::{Device, Module, Tensor};
use model_io::LoadMode;
use modern::Checkpoint;
use modern::flags::ModelFlags;
use serde_json::Value;
use tensor_core::testing::{CheckpointingRuns, Program, assert_close, path_arg};

const PART_6: Program = Program(env!("CARGO_BIN_EXE_part_6"));

/// Arguments of a short run in `out`, with additional flags.
fn train<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let small = "train --steps 4 --batch-size 4 --examples 40 --eval-examples 6 --log-interval 1";
    let base = if more.contains(&"--model") { "" } else { SMALL_BASE };
    let args = small.split_whitespace().chain(base.split_whitespace()).chain(["--out", out]);
    args.chain(more.iter().copied()).collect()
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
fn a_resumed_run_equals_an_uninterrupted_one_and_is_evaluated() {
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, resumed) = (path_arg(folder.path(), "whole"), path_arg(folder.path(), "parts"));
    PART_6.stdout(&train(&whole, &[]));
    let text = PART_6.stdout(&train(&resumed, &["--stop-after", "2"]));
    assert!(text.contains("-p part_6 -- train --resume"), "{text}");
    PART_6.stdout(&["train", "--resume", "--out", &resumed]);
    assert_same_run(&whole, &resumed);
    for file in ["metrics.jsonl", "loss.svg", "base/model.safetensors", "config.json"] {
        assert!(Path::new(&whole).join(file).exists(), "{file}");
    }
    let metrics = PART_6.stdout_json(&["eval", "--model", &whole, "--json"]);
    for key in
        ["n", "loss", "perplexity", "exact_match", "token_f1", "rouge_2", "rouge_l", "eos_rate"]
    {
        assert!(metrics[key].is_number(), "{key} in {metrics}");
    }
    assert_eq!((&metrics["n"], &metrics["products"]["n"]), (&500.into(), &18.into()));
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
    let sampled = |seed: &str, flags: &[&str]| {
        let args = ["sample", "--model", &whole, "--prompt", "1 + 1?", "--seed", seed];
        PART_6.stdout(&[&args[..], &["--max-new-tokens", "8"], flags].concat())
    };
    let hot = ["--temperature", "2", "--top-k", "0", "--top-p", "0.99"];
    assert_eq!(sampled("1", &[]), sampled("2", &[]), "greedy by default");
    assert_eq!(sampled("1", &hot), sampled("1", &hot));
    assert_ne!(sampled("1", &hot), sampled("2", &hot));
    let prompts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/demo_prompts.jsonl");
    let prompts = prompts.to_string_lossy();
    let from_file = ["sample", "--model", &whole, "--data", &prompts, "--max-new-tokens", "4"];
    let text = PART_6.stdout(&from_file);
    assert_eq!((text.matches("tuned").count(), text.contains("expected")), (6, false), "{text}");
    // The settings of a notebook, on our data and for two steps.
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/sft_notebook.yaml");
    let (config, out) = (config.to_string_lossy(), path_arg(folder.path(), "notebook"));
    let ours = ["--model", &whole, "--data", "everyday", "--steps", "2", "--out", &out];
    PART_6.stdout(&[&["train", "--config", &config], &ours[..]].concat());
    let settings = std::fs::read_to_string(Path::new(&out).join("config.json")).expect("settings");
    let settings: Value = serde_json::from_str(&settings).expect("JSON");
    for (key, value) in [("batch_size", 8), ("grad_accum_steps", 4), ("lora_rank", 16)] {
        assert_eq!(settings[key], value, "{key}");
    }
    assert!(Path::new(&out).join("adapter/adapter_config.json").exists(), "the adapter alone");
    PART_6.assert_fails(
        &["train", "--resume", "--out", &whole, "--lr", "0.5"],
        1,
        "lr was 0.001 and is 0.5",
    );
}

/// Checks that a resumed run has the model and the metrics of an uninterrupted one, bit for bit.
fn assert_same_run(whole: &str, resumed: &str) {
    for file in ["model/model.safetensors", "model/tokenizer.json", "model/config.json"] {
        let read = |run: &str| std::fs::read(Path::new(run).join(file)).expect(file);
        assert!(read(whole) == read(resumed), "{file}: resumed and uninterrupted");
    }
    let rows = |run: &str| {
        let text = std::fs::read_to_string(Path::new(run).join("metrics.jsonl")).expect("metrics");
        let rows = text.lines().map(|row| serde_json::from_str::<Value>(row).expect("a row"));
        rows.map(|row| ["step", "loss", "val_loss", "tokens"].map(|key| row[key].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(rows(whole), rows(resumed), "metrics continue after the resume");
}

#[test]
fn a_run_on_a_mixture_that_is_resumed_equals_an_uninterrupted_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, sign: &str, n: usize| {
        let row = |i| format!("{{\"prompt\": \"{i} {sign} 3?\", \"completion\": \"{i}\"}}\n");
        let file = path_arg(folder.path(), name);
        std::fs::write(&file, (0..n).map(row).collect::<String>()).expect("a file");
        file
    };
    let (sums, products) = (write("sums.jsonl", "+", 30), write("products.jsonl", "*", 9));
    let mixed = |weights: [f64; 2]| format!("{sums}={},{products}={}", weights[0], weights[1]);
    let data = mixed([0.7, 0.3]);
    let (whole, resumed) = (path_arg(folder.path(), "whole"), path_arg(folder.path(), "parts"));
    // 12 steps of 4 rows pass over the mixture more than once.
    let more = ["--data", &data, "--stopping-strategy", "all_exhausted", "--steps", "12"];
    PART_6.stdout(&train(&whole, &more));
    PART_6.stdout(&train(&resumed, &[&more[..], &["--stop-after", "5"]].concat()));
    let resume = ["train", "--resume", "--out", &resumed];
    let half = mixed([0.5, 0.5]);
    let other = [&resume[..], &["--data", &half]].concat();
    let output = PART_6.command(&other).output().expect("the program starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("trained on other data"), "{error}");
    PART_6.stdout(&resume);
    assert_same_run(&whole, &resumed);
    let text = std::fs::read_to_string(Path::new(&whole).join("config.json")).expect("settings");
    assert!(text.contains("=0.7,"), "the weights are stored: {text}");
}

#[test]
fn a_lora_run_resumes_evaluates_and_merges() {
    let folder = tempfile::tempdir().expect("a folder");
    let (base, tuned) = (path_arg(folder.path(), "base"), path_arg(folder.path(), "tuned"));
    PART_6.stdout(&train(&base, &[]));
    let model = path_arg(folder.path(), "base/model");
    let lora_flags =
        ["--model", &model, "--lora-rank", "2", "--lr", "0.05", "--merge", "--data", "everyday"];
    let dora = ["--template", "dialogue", "--use-dora", "--use-rslora", "--lora-alpha", "4"];
    let lora_flags = [&lora_flags[..], &dora].concat();
    let text = PART_6.stdout(&train(&tuned, &[&lora_flags[..], &["--stop-after", "2"]].concat()));
    assert!(text.contains("are trained"), "{text}");
    assert!(!Path::new(&tuned).join("model").exists(), "an unfinished run is not merged");
    let other = path_arg(folder.path(), "base/base");
    let resumed = PART_6.command(&["train", "--resume", "--out", &tuned, "--model", &other]);
    let resumed = { resumed }.output().expect("the program starts");
    let error = String::from_utf8_lossy(&resumed.stderr);
    assert!(
        error.contains(&format!("started from {model} and cannot be resumed with {other}")),
        "{error}"
    );
    PART_6.stdout(&["train", "--resume", "--out", &tuned]);
    let adapter = path_arg(folder.path(), "tuned/adapter");
    // Another file than that of the run, of which all rows are evaluated.
    let data = path_arg(folder.path(), "other.jsonl");
    let row = r#"{"prompt": "What is 1 + 1?", "completion": "2"}"#;
    std::fs::write(&data, format!("{row}\n{row}\n")).expect("written");
    let eval = |args: &[&str]| {
        PART_6.stdout_json(
            &[&["eval", "--data", &data, "--max-new-tokens", "3", "--json"], args].concat(),
        )
    };
    let with = eval(&["--model", &model, "--adapter", &adapter])["loss"].as_f64().expect("a loss");
    assert_eq!(eval(&["--model", &tuned])["loss"], with, "the run folder names its base model");
    let named = eval(&["--model", &tuned, "--template", "dialogue"]);
    assert_eq!(named["loss"], with, "and its chat template");
    let loss = || eval(&["--model", &adapter])["loss"].as_f64().expect("a loss");
    let config = opens_with_its_base(&adapter, &model, || assert!(loss() == with));
    let config: Value = serde_json::from_str(&config).expect("JSON");
    assert_eq!(
        (&config["lora_alpha"], &config["base_model_name_or_path"]),
        (&4.0.into(), &model.as_str().into())
    );
    let merged = eval(&["--model", &path_arg(folder.path(), "tuned/model")])["loss"]
        .as_f64()
        .expect("a loss");
    let without =
        eval(&["--model", &model, "--template", "dialogue"])["loss"].as_f64().expect("a loss");
    assert_close(with, merged, 1e-3);
    assert!((with - without).abs() > 1e-2, "{with} {without}");
    merged_models_score_as_the_adapter(folder.path(), [&model, &tuned, &adapter], |merged| {
        assert_close(eval(&["--model", merged])["loss"].as_f64().expect("a loss"), with, 1e-5);
    });
    let missing = path_arg(folder.path(), "missing");
    let args = ["eval", "--model", &other, "--adapter", &missing];
    PART_6.assert_fails(&args, 1, "is not an adapter");
    let args = train(
        &tuned,
        &["--model", &model, "--lora-rank", "2", "--lora-target-modules", "q_proj,nothing"],
    );
    PART_6.assert_fails(&args, 1, "no linear layer is called `nothing`");
}

/// Checks `merge`, `--adapter` and training with the `adapter` of the run `tuned` on the base
/// `model`; `assert_loss` checks a merged model.
fn merged_models_score_as_the_adapter(
    folder: &Path,
    [model, tuned, adapter]: [&str; 3],
    assert_loss: impl Fn(&str),
) {
    for (name, more) in [
        ("of_run", &["--model", tuned][..]),
        ("of_adapter", &["--model", adapter]),
        ("of_both", &["--model", model, "--adapter", adapter]),
    ] {
        let out = path_arg(folder, name);
        let args = [&["merge", "--out", &out], more].concat();
        PART_6.stdout(&args);
        PART_6.assert_fails(&args, 1, "not an empty folder");
        assert_loss(&out);
    }
    let logits = |checkpoint: Checkpoint| {
        let ids = Tensor::new(&[[1u32, 2, 3]], &Device::Cpu).expect("ids");
        checkpoint.model.forward(&ids).expect("logits").flatten_all().expect("numbers")
    };
    let opened = |source: &str| {
        logits(Checkpoint::open(source, LoadMode::Inference, &Device::Cpu).expect("a model"))
    };
    let flags = ModelFlags {
        model: model.to_string(),
        adapter: Some(adapter.to_string()),
        dequantize: false,
    };
    let with_flag = logits(flags.open_for_inference(&Device::Cpu).expect("--adapter"));
    assert_close(&with_flag, opened(adapter), 0.);
    assert_close(&with_flag, opened(&path_arg(folder, "of_both")), 1e-4);
    let out = path_arg(folder, "nothing");
    let args = ["merge", "--model", model, "--out", &out];
    PART_6.assert_fails(&args, 1, "has no adapter to merge");
    PART_6.assert_fails(&[&args[..], &["--adapter", model]].concat(), 1, "is not an adapter");
    assert!(!Path::new(&out).exists());
    let further = ["--model", tuned, "--data", "everyday", "--lr", "0.0001"];
    let text = PART_6.stdout(&train(&out, &further));
    assert!(text.contains("kept the model of step"), "an adapter is merged to train on: {text}");
    let lora = train(&out, &["--model", adapter, "--lora-rank", "2"]);
    PART_6.assert_fails(&lora, 1, "merge it first with `part_6 merge");
}

/// Checks that the folder `adapter` opens with its base `model`, also by a path relative to a
/// folder above, and its errors; returns its config.
fn opens_with_its_base(adapter: &str, model: &str, assert_loss: impl Fn()) -> String {
    let config_file = path_arg(Path::new(adapter), "adapter_config.json");
    let config = std::fs::read_to_string(&config_file).expect("a file");
    let write = |config: &str| std::fs::write(&config_file, config).expect("written");
    assert_loss();
    write(&config.replace(model, "base/model"));
    assert_loss();
    write(&config.replace(model, "base/gone"));
    let says = "opening base/gone, the base model of the adapter";
    PART_6.assert_fails(&["eval", "--model", adapter, "--data", "arithmetic"], 1, says);
    let further = path_arg(Path::new(adapter), "further");
    PART_6.assert_fails(&train(&further, &["--model", adapter]), 1, says);
    write(&config);
    config
}

#[test]
fn missing_base_models_are_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let (base, tuned) = (path_arg(folder.path(), "base"), path_arg(folder.path(), "tuned"));
    PART_6.stdout(&train(&base, &[]));
    let model = path_arg(folder.path(), "base/model");
    PART_6.stdout(&train(&tuned, &["--model", &model, "--lora-rank", "2"]));
    let full = path_arg(folder.path(), "full");
    PART_6.stdout(&train(&full, &["--model", &model]));
    let sample = || {
        let short = ["--prompt", "What is 1 + 1?", "--max-new-tokens", "4"];
        let output = PART_6.command(&[&["sample", "--model", &full], &short[..]].concat()).output();
        let output = output.expect("the program starts");
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned())
    };
    assert!(sample()[0].contains("\n  base "), "the base model beside the fine-tuned one");
    PART_6.assert_fails(&train(&base, &["--model", &model]), 1, "which would be moved aside");
    std::fs::remove_dir_all(path_arg(folder.path(), "base/checkpoints")).expect("checkpoints");
    std::fs::remove_dir_all(path_arg(folder.path(), "base/base")).expect("a base");
    PART_6.assert_fails(&["train", "--resume", "--out", &base], 1, "has no checkpoint yet");
    std::fs::rename(&model, path_arg(folder.path(), "elsewhere")).expect("a model");
    let [text, warning] = sample();
    assert!(warning.contains("use --base to name it") && text.contains("\n  tuned "), "{warning}");
    PART_6.assert_fails(
        &["eval", "--model", &tuned],
        1,
        &format!("opening {model}, the base model of the adapter"),
    );
}

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
    rejected(&["--validation", "0.2"], 2, "--validation is for files");
    let long = path_arg(folder.path(), "long.jsonl");
    let row = |prompt: &str| format!("{{\"prompt\": \"{prompt}\", \"completion\": \"b\"}}\n");
    std::fs::write(&long, row(&"7 ".repeat(200)) + &row(&"8 ".repeat(200))).expect("a file");
    rejected(&["--data", &long], 1, "no example fits");
    rejected(&["--target-exact-match", "1.5"], 2, "--target-exact-match");
    rejected(&["--model", "nowhere/at/all"], 1, "nowhere/at/all");
    assert!(!Path::new(&out).exists(), "no files were written");
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
fn a_run_with_the_date_in_its_prompts_is_resumed_and_evaluated_with_its_own_date() {
    let folder = tempfile::tempdir().expect("a folder");
    let (base, run) = (path_arg(folder.path(), "base"), path_arg(folder.path(), "run"));
    PART_6.stdout(&train(&base, &[]));
    let template = Path::new(&base).join("model/chat_template.jinja");
    let source = "{{ strftime_now('%d %b %Y') }} {{ style }} {% for m in messages %}\
        {% if m.role == 'user' %}{{ m.content }}|{% else %}{{ m.content + eos_token }}{% endif %}\
        {% endfor %}";
    std::fs::write(template, source).expect("a file");
    let flags = ["--model", &base, "--chat-date", "2024-07-26", "--stop-after", "2"];
    let flags = [&flags[..], &["--chat-template-arg", "style=short"]].concat();
    let text = PART_6.stdout(&train(&run, &flags));
    assert!(text.contains("|2|0|2|4| |"), "the date is in the prompt: {text}");
    // Today's date would give other tokens, and the run would be refused.
    PART_6.stdout(&["train", "--resume", "--out", &run]);
    let eval = |more: &[&str]| {
        let args =
            ["eval", "--model", &run, "--data", "everyday", "--json", "--max-new-tokens", "1"];
        PART_6.stdout_json(&[&args[..], more].concat())["loss"].clone()
    };
    let own = ["--chat-date", "2024-07-26", "--chat-template-arg", "style=short"];
    assert_eq!(eval(&[]), eval(&own));
    assert_ne!(eval(&[]), eval(&["--chat-date", "2025-01-01"]));
    assert_ne!(eval(&[]), eval(&["--chat-template-arg", "style=long"]));
    let next = path_arg(folder.path(), "next");
    let text = PART_6.stdout(&train(&next, &["--model", &run, "--chat-date", "2024-07-26"]));
    assert!(text.replace('|', "").contains("2024 short"), "the run's argument: {text}");
    let settings = std::fs::read_to_string(Path::new(&next).join("config.json")).expect("settings");
    assert!(settings.contains(r#"{\"style\":\"short\"}"#), "it is recorded: {settings}");
    PART_6.assert_fails(
        &["train", "--resume", "--out", &run, "--chat-template-arg", "style=long"],
        1,
        "chat_template_arg was",
    );
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
