//! The program as a user meets it: the demo, a run that is stopped and resumed, adapters, and what is said about bad input.

use std::path::Path;

use anyhow::Result;
use sft::base::{BaseConfig, pretrain};
use sft::{Example, Outputs, RunLog, Speech, TrainConfig, Tuning, tokenize};
use tensor_core::testing::{Program, path};

const PART_9: Program = Program(env!("CARGO_BIN_EXE_part_9"));

/// A model that knows nothing, in `folder`.
fn model(folder: &Path) -> String {
    of_seed(folder, "start", 1)
}

fn of_seed(folder: &Path, name: &str, seed: u64) -> String {
    let config = BaseConfig { n_layer: 1, n_head: 2, n_embd: 16, steps: 0 };
    let checkpoint = pretrain(config, seed, &candle_core::Device::Cpu).expect("a model");
    checkpoint.save(&folder.join(name)).expect("saved");
    path(folder, name)
}

/// A model that knows twelve sums and says every other answer with a full stop, and the sums: all, those to learn from, and the others.
fn half_taught(folder: &Path) -> Result<(String, [String; 3])> {
    let sums: Vec<(String, String)> =
        (0..12).map(|i| (format!("What is {i} + 3?"), format!("{}", i + 3))).collect();
    let habits = ["", "."].into_iter().flat_map(|end| {
        sums.iter()
            .map(move |(asked, answer)| Example::new(asked.as_str(), format!("{answer}{end}")))
    });
    let examples: Vec<Example> = habits.collect();
    let config = BaseConfig { n_layer: 1, n_head: 2, n_embd: 32, steps: 0 };
    let mut checkpoint = pretrain(config, 1, &candle_core::Device::Cpu)?;
    let speech = Speech::of(&mut checkpoint, None)?;
    let config = *checkpoint.model.config();
    let data = tokenize(&examples, &speech, config.context)?.examples;
    let how = TrainConfig::usual(24, 150, 1e-2, 1);
    let mut tuning = Tuning::new(config, checkpoint.parameters, how.optimizer)?;
    let mut log = RunLog::new(150, 0, 0, 150)?;
    sft::train(&mut tuning, &data, &how, None, &Outputs::default(), &mut log)?;
    checkpoint.parameters = tuning.parameters;
    checkpoint.save(&folder.join("taught"))?;
    let rows = |name: &str, sums: &[(String, String)]| -> Result<String> {
        let rows = sums.iter().map(|(prompt, answer)| {
            format!("{}\n", serde_json::json!({ "prompt": prompt, "answer": answer }))
        });
        std::fs::write(folder.join(name), rows.collect::<String>())?;
        Ok(path(folder, name))
    };
    let files = [
        rows("all.jsonl", &sums)?,
        rows("most.jsonl", &sums[..9])?,
        rows("few.jsonl", &sums[9..])?,
    ];
    Ok((path(folder, "taught"), files))
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
const KEYS: [&str; 15] = [
    "n",
    "reward_mean",
    "reward_ref_mean",
    "win_rate",
    "win_rate_low",
    "win_rate_high",
    "kl",
    "length_mean",
    "exact_match",
    "exact_match_low",
    "exact_match_high",
    "temperature",
    "k",
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
fn what_is_rewarded_is_said_more_often_and_what_costs_less_often() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (start, [all, most, few]) = half_taught(folder.path())?;
    let measured = |model: &str| {
        let flags = ["--data", &all, "--samples", "16", "--k", "4", "--json", "--model", model];
        PART_9.says_json(&[&["eval"], &flags[..]].concat())
    };
    let figure = |found: &serde_json::Value, key: &str| found[key].as_f64().expect(key);
    let before = measured(&start);
    let [once, in_four] = ["pass_at_1", "pass_at_k"].map(|key| figure(&before, key));
    assert!(once > 0.2 && once < 0.8 && in_four > once + 0.1, "{before}");
    assert!(
        figure(&before, "form_forgiven") > 0.9 && figure(&before, "eos_rate") > 0.9,
        "{before}"
    );
    let after = |reward: &str| {
        let out = path(folder.path(), reward);
        let more = ["--data", &most, "--eval-file", &few, "--reward", reward, "--lr", "1e-3"];
        let size = ["--steps", "20", "--batch-size", "9", "--group-size", "8", "--eval-every", "0"];
        PART_9.says(&train(&start, &out, &[&more[..], &size].concat()));
        measured(&out)
    };
    let (better, worse) = (after("exact"), after("exact=-1"));
    assert!(figure(&better, "pass_at_1") > once + 0.15, "{before} {better}");
    assert!(figure(&worse, "pass_at_1") < once - 0.15, "{before} {worse}");
    let than_before = |found: &serde_json::Value| figure(found, "win_rate") - 0.5;
    assert!(than_before(&better) > 0. && than_before(&worse) < 0., "{better} {worse}");
    assert!(figure(&better, "reward_mean") > figure(&better, "reward_ref_mean"));
    assert_eq!(figure(&better, "reward_ref_mean"), figure(&before, "exact_match"));
    assert!(figure(&better, "kl") > 0.01 && before.get("kl").is_none());
    Ok(())
}

/// The last figure of the run in `run` that is called `key`.
fn last(run: &str, key: &str) -> f64 {
    let rows = std::fs::read_to_string(Path::new(run).join("metrics.jsonl")).expect("rows");
    let rows =
        rows.lines().map(|row| serde_json::from_str::<serde_json::Value>(row).expect("JSON"));
    rows.filter_map(|row| row[key].as_f64()).next_back().expect("a figure")
}

#[test]
fn a_run_is_trained_resumed_and_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = model(folder.path());
    let (whole, parts) = (path(folder.path(), "whole"), path(folder.path(), "parts"));
    // Every feature that keeps something between steps: two updates per rollout, a reference that is renewed.
    let more = [
        "--mu",
        "2",
        "--reference-every",
        "3",
        "--beta",
        "0.1",
        "--importance-cap",
        "2",
        "--log-interval",
        "2",
    ];
    let text = PART_9.says(&train(&model, &whole, &more));
    assert!(text.contains("paid for: chance") && text.contains("% of it writing"), "{text}");
    let text = PART_9.says(&train(&model, &parts, &[&more[..], &["--stop-after", "3"]].concat()));
    assert!(text.contains("part_9 train --resume"), "{text}");
    let other = of_seed(folder.path(), "other", 2);
    PART_9.refuses(
        &["train", "--resume", "--model", &other, "--out", &parts],
        1,
        "cannot go on with",
    );
    PART_9.says(&["train", "--resume", "--model", &model, "--out", &parts]);
    for key in ["tokens", "reward_mean", "entropy", "kl"] {
        assert_eq!(last(&whole, key), last(&parts, key), "{key} counts on");
    }
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
    let eval = ["eval", "--model", &whole, "--n", "12", "--samples", "3", "--k", "2", "--json"];
    let found = PART_9.says_json(&eval);
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
    let data = |name: &str| {
        let file = format!("{}/../../data/math_tasks_{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
        Path::new(&file).canonicalize().expect(name).display().to_string()
    };
    let text = format!(
        "model_name: {model}\nmax_prompt_length: 14\nmax_completion_length: 4\ntrain_file: {}\neval_file: {}\nnum_train_steps: 1\n\
         eval_every: 0\nsave_every: 50\noutput_dir: {out}\ngroup_size: 3\nlearning_rate: 5e-6\nbatch_size: 2\ngamma: 1.0\n\
         kl_coeff: 0.05\nmax_grad_norm: 1.0\ntemperature: 0.7\ntop_p: 0.9\nseed: 42\n",
        data("train"),
        data("eval")
    );
    std::fs::write(&file, text).expect("a file");
    let said = PART_9.says(&["train", "--config", &file, "--eval-problems", "2"]);
    assert!(said.contains("2 to look at") && !said.contains("800 problems"), "{said}");
    assert!(!said.contains(" 0 were left out"), "the long ones are counted: {said}");
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
    refused(&["--task", "gsm8k"], 2, "--task gsm8k needs --data");
    refused(
        &["--max-new-tokens", "128"],
        1,
        "leaves room for 128 more tokens in the model's context",
    );
    refused(&["--batch-size", "100000000000"], 2, "tokens that are drawn at a time at most");
    refused(&["--group-size", "10000000000"], 2, "tokens that are drawn at a time at most");
    refused(&["--gamma", "0.9"], 2, "--gamma");
    refused(&["--beta", "0", "--reference-every", "2"], 2, "with --beta 0 there is none");
    refused(&["--overlong-margin", "9"], 2, "is more than the 8 tokens of a completion");
    refused(&["--reward", "exact=1,nowhere/reward=0.2"], 1, "nowhere/reward");
    let another = of_seed(folder.path(), "another", 2);
    PART_9.refuses(&train(&model, &another, &[]), 1, "config.json is no run's");
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
    // A model that is never right: said once, and counted, whether or not a reference pulls.
    for beta in ["0", "0.03"] {
        let text = PART_9.says(&train(&model, &out, &["--reward", "exact", "--beta", beta]));
        assert_eq!(
            text.matches("ALARM: step 1: all completions of each group").count(),
            1,
            "{text}"
        );
        assert!(text.contains("in 4 of 4 steps") && !text.contains("step 2: all"), "{text}");
    }
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
    assert!(again.contains("| PPO | 1 |") && !again.contains("±"), "a single seed has no spread");
    PART_9.refuses(&[&table[..], &["900"]].concat(), 1, "do not compare: choose another --out");
    of_seed(folder.path(), "start", 2); // other weights under the same name
    PART_9.refuses(&[&table[..], &["600"]].concat(), 1, "do not compare: choose another --out");
    let nowhere = path(folder.path(), "nowhere");
    PART_9.refuses(&["table", "--model", &nowhere, "--out", &nowhere], 1, "nowhere");
    assert!(!Path::new(&nowhere).exists());
}
