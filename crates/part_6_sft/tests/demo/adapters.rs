//! Adapters: trained, resumed, merged, and opened with their base model.

use std::path::Path;

use candle_core::{Device, Module, Tensor};
use model_io::LoadMode;
use modern::Checkpoint;
use modern::flags::ModelFlags;
use serde_json::Value;
use tensor_core::testing::{assert_close, path_arg};

use crate::{PART_6, train};

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
