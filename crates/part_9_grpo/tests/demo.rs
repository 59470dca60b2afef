//! Program tests: the demo, adapters, settings files; resumed runs, learning and errors in the
//! modules.

#[path = "demo/learned.rs"]
mod learned;
#[cfg(unix)]
#[path = "demo/open_prompts.rs"]
mod open_prompts;
#[path = "demo/refused.rs"]
mod refused;
#[path = "demo/resumed.rs"]
mod resumed;

use std::path::Path;

use sft::base_model::{BaseModelConfig, pretrain};
use tensor_core::testing::{Program, path_arg};

const PART_9: Program = Program(env!("CARGO_BIN_EXE_part_9"));

/// Untrained model in `folder`; returns its path.
fn model(folder: &Path) -> String {
    model_with_seed(folder, "start", 1)
}

fn model_with_seed(folder: &Path, name: &str, seed: u64) -> String {
    let config = BaseModelConfig { n_layer: 1, n_head: 2, n_embd: 16, steps: 0 };
    let checkpoint = pretrain(config, seed, &candle_core::Device::Cpu).expect("a model");
    checkpoint.save(&folder.join(name)).expect("saved");
    path_arg(folder, name)
}

#[test]
fn a_baseline_of_the_batch_needs_no_group() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, out) = (model(folder.path()), path_arg(folder.path(), "out"));
    for baseline in ["batch-mean", "moving-average"] {
        PART_9.stdout(&train(&model, &out, &["--baseline", baseline, "--group-size", "1"]));
        std::fs::remove_dir_all(&out).expect("removed");
    }
}

/// Arguments of a short run in `out`, with `more` flags. The reward is random, because an untrained
/// model is never right.
fn train<'a>(model: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let small = [
        "train",
        "--model",
        model,
        "--steps",
        "4",
        "--batch-size",
        "3",
        "--group-size",
        "2",
        "--micro-batch-size",
        "2",
        "--eval-examples",
        "6",
        "--eval-interval",
        "2",
        "--log-interval",
        "1",
        "--reward",
        "random",
        "--out",
        out,
    ];
    [&small[..], more].concat()
}

#[test]
fn the_demo_compares_the_methods_before_and_after() {
    let text = PART_9.stdout(&["--sft-steps", "3", "--steps", "2"]);
    for part in ["before", "after", "exact match", "relaxed match", "tokens sampled"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let rows = ["\nREINFORCE  ", "\nRLOO  ", "\nGRPO  "].map(|row| text.rfind(row));
    assert!(rows[0].is_some() && rows.is_sorted(), "{text}");
}

#[test]
fn an_adapter_is_trained_and_compared_with_its_base_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, merged) = (model(folder.path()), path_arg(folder.path(), "merged"));
    let lora = ["--lora-rank", "2", "--lr", "0.05", "--kl-coef", "0.1", "--merge"];
    PART_9.stdout(&train(&model, &merged, &lora));
    assert!(Path::new(&merged).join("adapter/adapter_model.safetensors").exists());
    let eval = |more: &[&str]| {
        let args = [
            &["eval", "--eval-examples", "6", "--group-size", "2", "--k", "1", "--json", "--model"],
            more,
        ]
        .concat();
        PART_9.stdout_json(&args)
    };
    let adapter = path_arg(folder.path(), "merged/adapter");
    let with_adapter = eval(&[&model, "--adapter", &adapter]);
    assert!(with_adapter["kl"].as_f64().expect("a KL") > 0., "{with_adapter}");
    assert_eq!(eval(&[&merged])["length_mean"], with_adapter["length_mean"]);
    let (adapter_only, next) =
        (path_arg(folder.path(), "adapter_only"), path_arg(folder.path(), "next"));
    PART_9.stdout(&train(&model, &adapter_only, &lora[..2]));
    let more = train(&adapter_only, &next, &lora[..2]);
    PART_9.assert_fails(&more, 1, "merge it first with `part_6 merge");
    PART_9.stdout(&train(&adapter_only, &next, &[]));
    assert!(eval(&[&next])["kl"].is_number(), "the adapter is the reference of the next policy");
    let args = train(&model, &merged, &["--lora-rank", "2", "--ref-model-sync-steps", "2"]);
    PART_9.assert_fails(&args, 2, "--lora-rank");
}

#[test]
fn a_settings_file_accepts_the_names_of_other_programs() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, out) = (model(folder.path()), path_arg(folder.path(), "out"));
    let file = path_arg(folder.path(), "run.yaml");
    let data = |name: &str| {
        let file = format!("{}/../../data/math_tasks_{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
        Path::new(&file).canonicalize().expect(name).display().to_string()
    };
    let text = format!(
        "model_name: {model}\nmax_prompt_length: 14\nmax_completion_length: 4\ntrain_file: {}\n\
         eval_file: {}\nnum_train_steps: 1\neval_interval: 0\nsave_every: 50\noutput_dir: {out}\n\
         group_size: 3\nlearning_rate: 5e-6\nbatch_size: 2\ngamma: 1.0\nkl_coeff: 0.05\n\
         max_grad_norm: 1.0\ntemperature: 0.7\ntop_p: 0.9\nseed: 42\n\
         per_device_train_batch_size: 6\ngradient_accumulation_steps: 2\n",
        data("train"),
        data("eval")
    );
    std::fs::write(&file, text).expect("a file");
    let text = PART_9.stdout(&["train", "--config", &file, "--eval-examples", "2"]);
    assert!(text.contains("2 for validation") && !text.contains("800 problems"), "{text}");
    assert!(!text.contains(" 0 were dropped"), "long prompts are dropped: {text}");
    let settings = std::fs::read_to_string(Path::new(&out).join("config.json")).expect("settings");
    let settings: serde_json::Value = serde_json::from_str(&settings).expect("JSON");
    assert_eq!((&settings["group_size"], &settings["max_new_tokens"]), (&3.into(), &4.into()));
    // Two micro-batches of 6 completions, 3 of a prompt.
    assert_eq!(settings["batch_size"], 4);
    let args = ["train", "--config", &file, "--per_device_train_batch_size=7"];
    PART_9.assert_fails(&args, 2, "7 is not a multiple of the 3 completions of a group");
    assert_eq!((settings["lr"].as_f64(), settings["kl_coef"].as_f64()), (Some(5e-6), Some(0.05)));
    for name in ["arithmetic", "grpo_learning", "gsm8k"] {
        let config =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../configs/{name}.yaml"));
        let (config, data) =
            (config.to_string_lossy().into_owned(), path_arg(folder.path(), "nowhere.jsonl"));
        // The warm-up of a file fits a shorter run, too.
        let args =
            ["train", "--config", &config, "--model", &model, "--data", &data, "--steps", "2"];
        let args = [&args[..], &["--out", &out]].concat();
        PART_9.assert_fails(&args, 1, "nowhere.jsonl"); // all settings of the file are known
    }
}
