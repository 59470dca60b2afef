//! The program as a user meets it: the demo, a run that is stopped and resumed, adapters, and what is said about bad input.

#[path = "demo/learned.rs"]
mod learned;
#[path = "demo/refused.rs"]
mod refused;
#[path = "demo/resumed.rs"]
mod resumed;

use std::path::Path;

use sft::base_model::{BaseModelConfig, pretrain};
use tensor_core::testing::{Program, path_arg};

const PART_9: Program = Program(env!("CARGO_BIN_EXE_part_9"));

/// A model that knows nothing, in `folder`.
fn model(folder: &Path) -> String {
    of_seed(folder, "start", 1)
}

fn of_seed(folder: &Path, name: &str, seed: u64) -> String {
    let config = BaseModelConfig { n_layer: 1, n_head: 2, n_embd: 16, steps: 0 };
    let checkpoint = pretrain(config, seed, &candle_core::Device::Cpu).expect("a model");
    checkpoint.save(&folder.join(name)).expect("saved");
    path_arg(folder, name)
}

/// A run of a few steps in `out`, with these flags besides. Paid by the toss of a coin, as the model is never right.
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
        "chance",
        "--out",
        out,
    ];
    [&small[..], more].concat()
}

#[test]
fn the_demo_shows_what_was_learned() {
    let text = PART_9.stdout(&["--sft-steps", "3", "--steps", "2"]);
    for said in ["before", "after", "right, the form forgiven", "tokens were drawn"] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn adapters_are_trained_and_are_their_own_reference() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, tuned) = (model(folder.path()), path_arg(folder.path(), "tuned"));
    let lora = ["--lora-rank", "2", "--lr", "0.05", "--kl-coef", "0.1", "--merge"];
    PART_9.stdout(&train(&model, &tuned, &lora));
    assert!(Path::new(&tuned).join("adapter/adapter_model.safetensors").exists());
    let of = |more: &[&str]| {
        let args = [
            &["eval", "--eval-examples", "6", "--group-size", "2", "--k", "1", "--json", "--model"],
            more,
        ]
        .concat();
        PART_9.stdout_json(&args)
    };
    let adapter = path_arg(folder.path(), "tuned/adapter");
    let apart = of(&[&model, "--adapter", &adapter]);
    assert!(apart["kl"].as_f64().expect("a distance") > 0., "{apart}");
    assert_eq!(of(&[&tuned])["length_mean"], apart["length_mean"], "merged");
    let (alone, next) = (path_arg(folder.path(), "alone"), path_arg(folder.path(), "next"));
    PART_9.stdout(&train(&model, &alone, &lora[..2]));
    PART_9.assert_fails(&train(&alone, &next, &[]), 1, "with --merge it makes a model");
    let args = train(&model, &tuned, &["--lora-rank", "2", "--ref-model-sync-steps", "2"]);
    PART_9.assert_fails(&args, 2, "--lora-rank");
}

#[test]
fn settings_files_speak_the_names_of_other_programs() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, out) = (model(folder.path()), path_arg(folder.path(), "out"));
    let file = path_arg(folder.path(), "run.yaml");
    let data = |name: &str| {
        let file = format!("{}/../../data/math_tasks_{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
        Path::new(&file).canonicalize().expect(name).display().to_string()
    };
    let text = format!(
        "model_name: {model}\nmax_prompt_length: 14\nmax_completion_length: 4\ntrain_file: {}\neval_file: {}\nnum_train_steps: 1\n\
         eval_interval: 0\nsave_every: 50\noutput_dir: {out}\ngroup_size: 3\nlearning_rate: 5e-6\nbatch_size: 2\ngamma: 1.0\n\
         kl_coeff: 0.05\nmax_grad_norm: 1.0\ntemperature: 0.7\ntop_p: 0.9\nseed: 42\n",
        data("train"),
        data("eval")
    );
    std::fs::write(&file, text).expect("a file");
    let said = PART_9.stdout(&["train", "--config", &file, "--eval-examples", "2"]);
    assert!(said.contains("2 to look at") && !said.contains("800 problems"), "{said}");
    assert!(!said.contains(" 0 were left out"), "the long ones are counted: {said}");
    let settings = std::fs::read_to_string(Path::new(&out).join("config.json")).expect("settings");
    let settings: serde_json::Value = serde_json::from_str(&settings).expect("JSON");
    assert_eq!((&settings["group_size"], &settings["max_new_tokens"]), (&3.into(), &4.into()));
    assert_eq!((settings["lr"].as_f64(), settings["kl_coef"].as_f64()), (Some(5e-6), Some(0.05)));
    for name in ["arithmetic", "grpo_learning", "gsm8k"] {
        let config =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../configs/{name}.yaml"));
        let (config, data) =
            (config.to_string_lossy().into_owned(), path_arg(folder.path(), "nowhere.jsonl"));
        let args =
            ["train", "--config", &config, "--model", &model, "--data", &data, "--out", &out];
        PART_9.assert_fails(&args, 1, "nowhere.jsonl"); // every setting of the file was understood
    }
}
