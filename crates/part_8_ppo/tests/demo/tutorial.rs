//! Settings files of the PPO tutorial: all of its keys, with values for a small model.

use std::path::Path;

use serde_json::{Value, json};
use tensor_core::testing::path_arg;

use crate::{PART_8, train};

/// All keys of the tutorial's `config.yaml`, and those of its GRPO variant for the schedule.
const CONFIG: &str = r#"
model:
  name: MODEL
  tokenizer_name: ${model.name}
  trust_remote_code: true
  torch_dtype: float32
dataset:
  name: DATA
  config: main
  split: train
  prompt_format: "Q: {question}\nA:"
  max_prompt_length: 48
  max_gen_length: 6
ppo:
  learning_rate: 3.0e-4
  epochs: 1
  batch_size: 3
  mini_batch_size: 2
  gradient_accumulation_steps: 2
  kl_coeff: 0.04
  clip_ratio: 0.3
  clip_range_value: 0.1
  vf_coeff: 0.2
  entropy_coeff: 0.02
  gamma: 0.9
  lam: 0.8
  use_8bit_adam: false
  max_grad_norm: 0.5
  rollout_samples: 8
  scheduler: cosine_with_min_lr
  warmup_steps: 1
  min_lr: 1.0e-5
training:
  total_ppo_steps: 2
  seed: 7
  log_interval: 1
  save_interval: 2
  output_dir: "OUT/${training.seed}"
  device: cpu
  gradient_checkpointing: true
generation:
  max_new_tokens: ${dataset.max_gen_length}
  min_new_tokens: 2
  temperature: 0.8
  top_k: 40
  top_p: 0.9
  do_sample: true
wandb:
  report_to_wandb: true
  project: words
  name: first
"#;

/// All keys of its `config_debug.yaml`.
const DEBUG: &str = r#"
defaults:
  - config.yaml
model:
  name: MODEL
  tokenizer_name: MODEL
  trust_remote_code: false
  torch_dtype: "float32"
ppo:
  learning_rate: 5.0e-5
  batch_size: 2
  mini_batch_size: 1
  gradient_accumulation_steps: 1
  use_8bit_adam: true
  rollout_samples: 4
training:
  total_ppo_steps: 2
  log_interval: 1
  save_interval: 2
  output_dir: "OUT/debug"
  device: "cpu"
  num_samples: 5
wandb:
  report_to_wandb: false
"#;

fn settings(run: &str) -> Value {
    let text = std::fs::read_to_string(Path::new(run).join("config.json")).expect("settings");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn the_tutorials_files_train_as_they_stand() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| path_arg(folder.path(), name);
    PART_8.stdout(&train(&path("base_run"), &["--steps", "1"]));
    let data = folder.path().join("gsm8k/main");
    std::fs::create_dir_all(&data).expect("a folder");
    let row = |i| format!("{{\"question\": \"{i} + 1?\", \"answer\": \"so\\n#### {}\"}}\n", i + 1);
    std::fs::write(data.join("train.jsonl"), (0..40).map(row).collect::<String>()).expect("rows");
    for (name, text) in [("config.yaml", CONFIG), ("config_debug.yaml", DEBUG)] {
        let text = text.replace("MODEL", &path("base_run/base")).replace("OUT", &path("runs"));
        std::fs::write(path(name), text.replace("DATA", &path("gsm8k"))).expect("a file");
    }
    let seconds = ["--threads", "1", "--eval-examples", "4"];
    PART_8.stdout(&[&["train", "--config", &path("config.yaml")], &seconds[..]].concat());
    let run = path("runs/7");
    let found = settings(&run);
    let expected = json!({
        "model": path("base_run/base"), "dtype": "f32", "data": path("gsm8k"),
        "dataset_config": "main", "split": "train", "prompt_format": "Q: {question}\nA:",
        "max_prompt_length": 48, "max_new_tokens": 6, "min_new_tokens": 2, "lr": 3e-4,
        "ppo_epochs": 1, "rollout_batch_size": 3, "num_minibatches": 2, "grad_accum_steps": 2,
        "kl_coef": 0.04, "clip_range": 0.3, "value_clip_range": 0.1, "value_coef": 0.2,
        "entropy_coef": 0.02, "gamma": 0.9, "gae_lambda": 0.8, "max_grad_norm": 0.5,
        "batch_size": 8, "group_size": 1, "lr_scheduler": "cosine", "warmup_steps": 1,
        "min_lr": 1e-5, "steps": 2, "seed": 7, "log_interval": 1, "save_interval": 2,
        "out": run, "device": "cpu", "gradient_checkpointing": true, "temperature": 0.8,
        "optim": "adamw",
        "top_k": 40, "top_p": 0.9, "tracker": "wandb", "wandb_project": "words",
        "run_name": "first",
    });
    for (key, value) in expected.as_object().expect("settings") {
        assert_eq!(found[key], *value, "{key}");
    }
    let rows = std::fs::read_to_string(path("runs/7/completions.jsonl")).expect("completions");
    let row: Value = serde_json::from_str(rows.lines().next().expect("a row")).expect("JSON");
    let prompt = row["prompt"].to_string();
    assert!(prompt.contains(r"Q: ") && prompt.contains(r" + 1?\nA:"), "{prompt}");

    let debug = path("config_debug.yaml");
    PART_8.stdout(
        &[&["train", "--config", &debug], &seconds[..], &["ppo.kl_coeff=0.5", "lam=0.7"]].concat(),
    );
    let found = settings(&path("runs/debug"));
    assert_eq!((&found["batch_size"], &found["num_minibatches"]), (&4.into(), &4.into()));
    assert_eq!(
        (&found["max_train_samples"], &found["tracker"]),
        (&5.into(), &"tensorboard".into())
    );
    assert_eq!((&found["kl_coef"], &found["gae_lambda"]), (&0.5.into(), &0.7.into()));
    assert_eq!(found["optim"], "adamw_8bit");
    assert_eq!((&found["clip_range"], &found["seed"]), (&0.3.into(), &7.into()), "inherited");
}

#[test]
fn the_effective_config_gives_the_same_run_and_its_checkpoint_is_a_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| path_arg(folder.path(), name);
    let more = ["--min-new-tokens", "2", "--mini-batch-size", "2", "--rollout-batch-size", "3"];
    PART_8.stdout(&train(&path("first"), &more));
    let file = path("first/effective_config.yaml");
    PART_8.stdout(&["train", "--config", &file, "--out", &path("again")]);
    for file in ["completions.jsonl", "checkpoints/step-4/policy/model.safetensors"] {
        let read = |run: &str| std::fs::read(path(&format!("{run}/{file}"))).expect(file);
        assert!(read("first") == read("again"), "{file}");
    }
    let step = path("first/checkpoints/step-4/policy");
    let metrics = PART_8.stdout_json(&["eval", "--model", &step, "--eval-examples", "4", "--json"]);
    assert_eq!(metrics["n"], 4);
    let of_step = std::fs::read(path("first/checkpoints/step-4/policy/tokenizer.json"));
    assert_eq!(
        of_step.expect("a tokenizer"),
        std::fs::read(path("first/base/tokenizer.json")).expect("one")
    );
    let refused =
        |more: &[&str], says: &str| PART_8.assert_fails(&train(&path("no"), more), 2, says);
    refused(&["--mini-batch-size", "3"], "cannot be split into steps of --mini-batch-size 3");
    refused(&["--mini-batch-size", "2", "--num-minibatches", "2"], "cannot be used with");
    refused(&["--min-new-tokens", "9"], "--min-new-tokens 9 is more than the 8 tokens");
    refused(&["--prompt-format", "What?"], "has {question} 0 times");
    refused(&["ppo.kl_coef_=1"], "the nearest is `ppo.kl_coeff`");
    let config = |name: &str| format!("{}/../../configs/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    let (debug, gpu, no) = (config("ppo_debug"), config("ppo_gsm8k_gpu"), path("no"));
    let (debug, gpu) = (["train", "--config", &debug], ["train", "--config", &gpu]);
    let model = path("first/base");
    let other = ["--out", &no, "--model", &model, "--data", "nowhere.jsonl"];
    let file = ["dataset.config=null", "split=null", "device=cpu", "dataset.name=nowhere.jsonl"];
    PART_8.assert_fails(&[&gpu[..], &other, &file].concat(), 1, "reading nowhere.jsonl");
    let args = [&debug[..], &other, &["base_steps=null", "sft_steps=null"]].concat();
    PART_8.assert_fails(&args, 1, "nowhere.jsonl"); // all settings of the files are known
}
