//! The program as a user meets it: the demo, a run that is stopped and resumed, adapters, and what is said about bad input.

use std::path::Path;

use sft::base::{BaseConfig, pretrain};
use tensor_core::testing::{Program, path};

const PART_9: Program = Program(env!("CARGO_BIN_EXE_part_9"));

/// A model that knows nothing, in `folder`.
fn model(folder: &Path) -> String {
    let config = BaseConfig { n_layer: 1, n_head: 2, n_embd: 16, steps: 0 };
    let checkpoint = pretrain(config, 1, &candle_core::Device::Cpu).expect("a model");
    checkpoint.save(&folder.join("start")).expect("saved");
    path(folder, "start")
}

/// What a row of figures holds.
const FIGURES: [&str; 6] = [
    "reward_mean",
    "kl",
    "clip_fraction",
    "sampler_mismatch",
    "frac_groups_without_signal",
    "share_generation",
];
/// What `eval --json` says.
const KEYS: [&str; 11] = [
    "n",
    "reward_mean",
    "reward_ref_mean",
    "win_rate",
    "win_rate_low",
    "win_rate_high",
    "kl",
    "length_mean",
    "exact_match",
    "pass_at_1",
    "pass_at_k",
];

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
        "--micro-batch",
        "2",
        "--eval-problems",
        "6",
        "--eval-every",
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
    let text = PART_9.says(&["--sft-steps", "3", "--steps", "2"]);
    for said in ["before", "after", "right, the form forgiven", "tokens were drawn"] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn a_run_is_trained_resumed_and_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = model(folder.path());
    let (whole, parts) = (path(folder.path(), "whole"), path(folder.path(), "parts"));
    // Every feature that keeps something between steps: two updates per rollout, a reference that is renewed.
    let more = ["--mu", "2", "--reference-every", "3", "--beta", "0.1", "--importance-cap", "2"];
    let text = PART_9.says(&train(&model, &whole, &more));
    assert!(text.contains("paid for: chance") && text.contains("% of it writing"), "{text}");
    let text = PART_9.says(&train(&model, &parts, &[&more[..], &["--stop-after", "3"]].concat()));
    assert!(text.contains("part_9 train --resume"), "{text}");
    PART_9.says(&["train", "--resume", "--model", &model, "--out", &parts]);
    for file in
        ["checkpoints/step-4/trained.safetensors", "checkpoints/step-4/reference.safetensors"]
    {
        let read = |run: &str| std::fs::read(Path::new(run).join(file)).expect(file);
        assert_eq!(read(&whole), read(&parts), "{file}: in pieces as in one");
    }
    for file in ["metrics.jsonl", "reward.svg", "config.json", "model/model.safetensors"] {
        assert!(Path::new(&whole).join(file).exists(), "{file}");
    }
    let rows = std::fs::read_to_string(Path::new(&whole).join("metrics.jsonl")).expect("rows");
    for key in FIGURES {
        assert!(rows.contains(&format!("\"{key}\":")), "{key}: {rows}");
    }
    let found = PART_9.says_json(&[
        "eval",
        "--model",
        &whole,
        "--n",
        "12",
        "--samples",
        "3",
        "--k",
        "2",
        "--json",
    ]);
    for key in KEYS {
        assert!(found[key].is_number(), "{key} in {found}");
    }
    assert_eq!(found["n"], 12);
    let learned = path(folder.path(), "whole/model");
    PART_9.refuses(&train(&learned, &whole, &[]), 1, "which would be moved aside");
    PART_9.refuses(
        &["train", "--resume", "--model", &model, "--out", &whole, "--lr", "0.5"],
        1,
        "lr was 0.0002 and is 0.5",
    );
}

#[test]
fn adapters_are_trained_and_are_their_own_reference() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, tuned) = (model(folder.path()), path(folder.path(), "tuned"));
    let lora = ["--lora-rank", "2", "--lr", "0.05", "--beta", "0.1", "--merge"];
    PART_9.says(&train(&model, &tuned, &lora));
    assert!(Path::new(&tuned).join("adapter/adapter_model.safetensors").exists());
    let of = |more: &[&str]| {
        let args = [&["eval", "--n", "6", "--samples", "2", "--k", "1", "--json", "--model"], more]
            .concat();
        PART_9.says_json(&args)
    };
    let adapter = path(folder.path(), "tuned/adapter");
    let apart = of(&[&model, "--adapter", &adapter]);
    assert!(apart["kl"].as_f64().expect("a distance") > 0., "{apart}");
    assert_eq!(of(&[&tuned])["length_mean"], apart["length_mean"], "merged");
    let args = train(&model, &tuned, &["--lora-rank", "2", "--reference-every", "2"]);
    PART_9.refuses(&args, 2, "--lora-rank");
}

#[test]
fn settings_files_speak_the_names_of_other_programs() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, out) = (model(folder.path()), path(folder.path(), "out"));
    let file = path(folder.path(), "run.yaml");
    let text = format!(
        "model_name: {model}\nnum_train_steps: 1\nnum_generations: 3\nbatch_size: 2\nlearning_rate: 5e-6\nkl_coeff: 0.05\nmax_grad_norm: 1.0\n\
         temperature: 0.7\ntop_p: 0.9\nmax_completion_length: 4\neval_every: 0\nsave_every: 50\nseed: 42\noutput_dir: {out}\n"
    );
    std::fs::write(&file, text).expect("a file");
    PART_9.says(&["train", "--config", &file, "--eval-problems", "2"]);
    let settings = std::fs::read_to_string(Path::new(&out).join("config.json")).expect("settings");
    let settings: serde_json::Value = serde_json::from_str(&settings).expect("JSON");
    assert_eq!((&settings["group_size"], &settings["max_new_tokens"]), (&3.into(), &4.into()));
    assert_eq!((settings["lr"].as_f64(), settings["beta"].as_f64()), (Some(5e-6), Some(0.05)));
    for name in ["arithmetic", "gsm8k"] {
        let config =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../configs/{name}.yaml"));
        let (config, data) =
            (config.to_string_lossy().into_owned(), path(folder.path(), "nowhere.jsonl"));
        let args =
            ["train", "--config", &config, "--model", &model, "--data", &data, "--out", &out];
        PART_9.refuses(&args, 1, "nowhere.jsonl"); // every setting of the file was understood
    }
}

#[test]
fn bad_input_is_refused_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, out) = (model(folder.path()), path(folder.path(), "out"));
    let rows = path(folder.path(), "rows.jsonl");
    std::fs::write(&rows, "{\"prompt\": \"1 + 1?\", \"answer\": \"2\"}\n{\"prompt\": \"1 + 2?\", \"answer\": \"x\"}\n").expect("rows");
    let refused =
        |more: &[&str], code, says: &str| PART_9.refuses(&train(&model, &out, more), code, says);
    refused(&["--group-size", "1"], 2, "a completion has nothing to be compared with");
    refused(&["--data", &rows], 1, "rows.jsonl:2: the answer `x` holds no whole number");
    refused(&["--task", "gsm8k"], 1, "--task gsm8k needs --data");
    refused(
        &["--max-new-tokens", "128"],
        2,
        "leaves no room for a prompt in the model's context of 128 tokens",
    );
    refused(&["--max-new-tokens", "0"], 2, "--max-new-tokens");
    refused(&["--reward", "kindness"], 2, "no reward is called `kindness`");
    refused(&["--temperature", "0"], 2, "--temperature");
    refused(&["--mask-truncated", "--overlong-margin", "2"], 2, "--mask-truncated");
    refused(&["--model", "nowhere/at/all"], 1, "nowhere/at/all");
    assert!(!Path::new(&out).exists(), "nothing was written");
    PART_9.refuses(
        &["eval", "--model", &model, "--k", "9", "--samples", "8"],
        2,
        "--k 9 needs at least as many --samples",
    );
    // A model that is never right: said, and not silent.
    let text = PART_9.says(&train(&model, &out, &["--reward", "exact", "--beta", "0"]));
    assert!(text.contains("no group has completions of different worth"), "{text}");
}

#[test]
fn a_table_is_begun_goes_on_and_does_not_mix_runs_that_do_not_compare() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, out) = (model(folder.path()), path(folder.path(), "table"));
    let table = ["table", "--model", &model, "--seeds", "1", "--out", &out, "--tokens"];
    let first = PART_9.says(&[&table[..], &["600"]].concat());
    assert!(first.contains("Dr. GRPO, seed 1") && first.contains("| RLOO | 1 |"), "{first}");
    let again = PART_9.says(&[&table[..], &["600"]].concat());
    assert!(!again.contains("seed 1") && again.contains("| RLOO | 1 |"), "nothing is run twice");
    PART_9.refuses(&[&table[..], &["900"]].concat(), 1, "do not compare: choose another --out");
}
