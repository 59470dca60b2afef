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
#[path = "demo/splits.rs"]
mod splits;

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

#[test]
fn gradient_checkpointing_gives_the_same_policy() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = model(folder.path());
    let weights = |name: &str, flags: &[&str]| {
        let out = path_arg(folder.path(), name);
        PART_9.stdout(&train(&model, &out, &[&["--lr", "1e-2"][..], flags].concat()));
        let file = Path::new(&out).join("checkpoints/step-4/model.safetensors");
        std::fs::read(file).expect("weights")
    };
    assert!(weights("stored", &[]) == weights("recomputed", &["--gradient-checkpointing"]));
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
    let completions = |more: &[&str]| {
        let args = ["eval", "--eval-examples", "6", "--model", &model, "--prompt-format"];
        PART_9.stdout(&[&args[..], &["{question}"], more].concat())
    };
    let joined = completions(&["--template", "joined"]);
    assert_eq!(completions(&[]), joined, "as in training");
    assert_ne!(completions(&["--template", "instruction"]), joined, "a given template counts");
    let (adapter_only, next) =
        (path_arg(folder.path(), "adapter_only"), path_arg(folder.path(), "next"));
    PART_9.stdout(&train(&model, &adapter_only, &lora[..2]));
    let more = train(&adapter_only, &next, &lora[..2]);
    PART_9.assert_fails(&more, 1, "merge it first with `part_6 merge");
    PART_9.stdout(&train(&adapter_only, &next, &[]));
    assert!(eval(&[&next])["kl"].is_number(), "the adapter is the reference of the next policy");
    let args = train(&model, &merged, &["--lora-rank", "2", "--sync-ref", "2"]);
    PART_9.assert_fails(&args, 2, "--lora-rank");
}

/// File of arithmetic problems in the repository.
fn data(name: &str) -> String {
    let file = format!("{}/../../data/math_tasks_{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
    Path::new(&file).canonicalize().expect(name).display().to_string()
}

/// Settings of the run in `out`.
fn settings(out: &str) -> serde_json::Value {
    let settings = std::fs::read_to_string(Path::new(out).join("config.json"));
    serde_json::from_str(&settings.expect("settings")).expect("JSON")
}

#[test]
fn a_settings_file_accepts_the_names_of_other_programs() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, out) = (model(folder.path()), path_arg(folder.path(), "out"));
    let file = path_arg(folder.path(), "run.yaml");
    // All keys of the arithmetic GRPO project's config.yaml, and one of TRL.
    let text = format!(
        "model_name: {model}\nmax_prompt_length: 14\nmax_completion_length: 4\ntrain_file: {}\n\
         eval_file: {}\nnum_train_steps: 2\neval_every: 1\nsave_every: 50\noutput_dir: {out}\n\
         group_size: 3\nlearning_rate: 5e-6\nbatch_size: 4\ngamma: 1.0\nkl_coeff: 0.05\n\
         max_grad_norm: 1.0\ntemperature: 0.7\ntop_p: 0.9\nseed: 42\nbf16: true\n",
        data("train"),
        data("eval")
    );
    std::fs::write(&file, text).expect("a file");
    let text = PART_9.stdout(&["train", "--config", &file, "--eval-examples", "2"]);
    assert!(text.contains("2 for validation") && !text.contains("800 problems"), "{text}");
    assert!(!text.contains(" 0 were dropped"), "long prompts are dropped: {text}");
    let own = settings(&out);
    assert_eq!((&own["group_size"], &own["max_new_tokens"]), (&3.into(), &4.into()));
    assert_eq!((own["lr"].as_f64(), own["kl_coef"].as_f64()), (Some(5e-6), Some(0.05)));
    assert_eq!((&own["steps"], &own["eval_interval"]), (&2.into(), &1.into()));
    assert_eq!(own["dtype"], "bf16");
    // The checkpoint is a model, and the settings begin the same run.
    let step = path_arg(folder.path(), "out/checkpoints/step-2");
    let eval = ["eval", "--model", &step, "--eval-examples", "2", "--group-size", "1", "--k", "1"];
    assert!(PART_9.stdout(&eval).contains("pass@1"));
    let (again, effective) =
        (path_arg(folder.path(), "again"), path_arg(folder.path(), "out/effective_config.yaml"));
    PART_9.stdout(&["train", "--config", &effective, "--out", &again]);
    let weights = |out: &str| {
        std::fs::read(Path::new(out).join("checkpoints/step-2/model.safetensors")).expect("weights")
    };
    assert!(weights(&out) == weights(&again), "the same run");
    // TRL's batches: two micro-batches of 6 completions, 3 of a prompt.
    let trl = ["batch_size=null", "gradient_accumulation_steps=2", "num_train_steps=1"];
    let trl = [&["train", "--config", &file, "--eval-examples", "2"], &trl[..]].concat();
    PART_9.stdout(&[&trl[..], &["--per_device_train_batch_size=6"]].concat());
    assert_eq!(settings(&out)["batch_size"], 4);
    let args = [&trl[..], &["--per_device_train_batch_size=7"]].concat();
    PART_9.assert_fails(&args, 2, "7 is not a multiple of the 3 completions of a group");
}

#[test]
fn a_settings_file_accepts_the_sections_of_the_ppo_tutorial() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, out) = (model(folder.path()), path_arg(folder.path(), "out"));
    let file = path_arg(folder.path(), "run.yaml");
    let sections = format!(
        "model: {{name: {model}, torch_dtype: bfloat16}}\ndataset: {{name: {}, prompt_format: \"\
         {{question}} A:\", max_gen_length: 3, num_samples: 5}}\ngrpo: {{group_size: 2}}\n\
         ppo: {{epochs: 2, rollout_samples: 4, mini_batch_size: 2, gradient_accumulation_steps: 2, \
         clip_ratio: 0.1, kl_coeff: 0.01, use_8bit_adam: false}}\n\
         training: {{total_ppo_steps: 2, output_dir: {out}, gradient_checkpointing: false}}\n\
         generation: {{min_new_tokens: 1, top_k: 50}}\nwandb: {{report_to_wandb: false}}\n",
        data("train")
    );
    std::fs::write(&file, sections).expect("a file");
    PART_9.stdout(&["train", "--config", &file, "--eval-examples", "2"]);
    let own = settings(&out);
    assert_eq!((&own["num_iterations"], &own["micro_batch_size"]), (&2.into(), &2.into()));
    assert_eq!((&own["group_size"], &own["batch_size"]), (&2.into(), &4.into()));
    assert_eq!(own["dtype"], "bf16");
    let refused = ["train", "--config", &file, "ppo.vf_coeff=0.1"];
    PART_9.assert_fails(&refused, 2, "`ppo.vf_coeff` means --value-coef, which `train` does not");
}

#[test]
fn all_settings_of_the_files_in_configs_are_known() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, out) = (model(folder.path()), path_arg(folder.path(), "out"));
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
