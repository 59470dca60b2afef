//! Resume: an interrupted run gives the same result, and only with its own inputs.

use std::path::Path;

use reward::testing::save_untrained_reward_model;
use tensor_core::testing::path_arg;

use crate::{PART_9, model, model_with_seed, train};

/// Keys of `metrics.jsonl`.
const METRIC_KEYS: [&str; 7] = [
    "reward_mean",
    "kl",
    "kl_per_completion",
    "clip_fraction",
    "sampler_log_prob_diff",
    "frac_groups_zero_advantage",
    "generation_time_fraction",
];
/// Keys of `eval --json`.
const EVAL_KEYS: [&str; 16] = [
    "n",
    "reward_mean",
    "reward_ref_mean",
    "win_rate",
    "win_rate_low",
    "win_rate_high",
    "kl",
    "kl_per_completion",
    "length_mean",
    "exact_match",
    "exact_match_low",
    "exact_match_high",
    "temperature",
    "k",
    "pass_at_1",
    "pass_at_k",
];

/// Flags with state between steps: two iterations per rollout, a synchronized reference.
const STATEFUL_FLAGS: [&str; 11] = [
    "--num-iterations",
    "2",
    "--sync-ref-model",
    "--ref-model-sync-steps",
    "3",
    "--kl-coef",
    "0.1",
    "--importance-sampling-cap",
    "2",
    "--log-interval",
    "2",
];

/// Last value of `key` in the metrics of the run in `run`.
fn last_metric(run: &str, key: &str) -> f64 {
    let rows = std::fs::read_to_string(Path::new(run).join("metrics.jsonl")).expect("rows");
    let rows =
        rows.lines().map(|row| serde_json::from_str::<serde_json::Value>(row).expect("JSON"));
    rows.filter_map(|row| row[key].as_f64()).next_back().expect("a number")
}

#[test]
fn a_resumed_run_gives_the_same_weights_and_metrics_bit_for_bit() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = model(folder.path());
    let (whole, parts) = (path_arg(folder.path(), "whole"), path_arg(folder.path(), "parts"));
    let text = PART_9.stdout(&train(&model, &whole, &STATEFUL_FLAGS));
    assert!(text.contains("reward: random") && text.contains("% generation"), "{text}");
    let flags = [&STATEFUL_FLAGS[..], &["--stop-after", "3"]].concat();
    let text = PART_9.stdout(&train(&model, &parts, &flags));
    assert!(text.contains("-p part_9 -- train --resume"), "{text}");
    let other = model_with_seed(folder.path(), "other", 2);
    let with_other = ["train", "--resume", "--model", &other, "--out", &parts];
    PART_9.assert_fails(&with_other, 1, "and cannot ");
    PART_9.stdout(&["train", "--resume", "--model", &model, "--out", &parts]);
    for key in ["tokens", "reward_mean", "entropy", "kl"] {
        assert_eq!(last_metric(&whole, key), last_metric(&parts, key), "{key}");
    }
    let completions = "completions.jsonl";
    let text = std::fs::read_to_string(Path::new(&whole).join(completions)).expect(completions);
    let rows: Vec<serde_json::Value> =
        text.lines().map(|row| serde_json::from_str(row).expect("a row")).collect();
    assert!(text.ends_with('\n') && rows[0]["step"] == 2 && rows[rows.len() - 1]["step"] == 4);
    let row = rows[0].as_object().expect("an object");
    let columns: Vec<&str> = row.keys().map(String::as_str).collect();
    assert_eq!(columns, ["step", "prompt", "completion", "reward", "chance", "advantage"]);
    assert_eq!((&row["prompt"][0]["role"], &row["reward"]), (&"user".into(), &row["chance"]));
    for file in [
        "checkpoints/step-4/model.safetensors",
        "checkpoints/step-4/reference.safetensors",
        completions,
    ] {
        let read = |run: &str| std::fs::read(Path::new(run).join(file)).expect(file);
        assert_eq!(read(&whole), read(&parts), "{file}");
    }
}

#[test]
fn a_resumed_run_continues_the_moving_average_of_reinforce() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = model(folder.path());
    let flags = ["--method", "reinforce", "--group-size", "1", "--batch-size", "6"];
    let weights = |run: &str| {
        std::fs::read(Path::new(run).join("checkpoints/step-4/model.safetensors")).expect(run)
    };
    let (whole, parts) = (path_arg(folder.path(), "whole"), path_arg(folder.path(), "parts"));
    PART_9.stdout(&train(&model, &whole, &flags));
    PART_9.stdout(&train(&model, &parts, &[&flags[..], &["--stop-after", "2"]].concat()));
    PART_9.stdout(&["train", "--resume", "--model", &model, "--out", &parts]);
    assert!(weights(&whole) == weights(&parts));
    let per_batch = path_arg(folder.path(), "per_batch");
    PART_9.stdout(&train(
        &model,
        &per_batch,
        &[&flags[..], &["--baseline", "batch-mean"]].concat(),
    ));
    assert!(weights(&whole) != weights(&per_batch), "an explicit flag wins");
}

#[test]
fn a_finished_run_has_all_files_metrics_and_evaluations() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, run) = (model(folder.path()), path_arg(folder.path(), "run"));
    PART_9.stdout(&train(&model, &run, &STATEFUL_FLAGS));
    for file in ["metrics.jsonl", "reward.svg", "config.json", "model/model.safetensors"] {
        assert!(Path::new(&run).join(file).exists(), "{file}");
    }
    let rows = std::fs::read_to_string(Path::new(&run).join("metrics.jsonl")).expect("rows");
    for key in METRIC_KEYS {
        assert!(rows.contains(&format!("\"{key}\":")), "{key}: {rows}");
    }
    let eval = ["eval", "--model", &run, "--eval-examples", "12"];
    let sampling = ["--group-size", "3", "--k", "2", "--json"];
    let metrics = PART_9.stdout_json(&[&eval[..], &sampling].concat());
    for key in EVAL_KEYS {
        assert!(metrics[key].is_number(), "{key} in {metrics}");
    }
    assert_eq!(metrics["n"], 12);
    let own_model = path_arg(folder.path(), "run/model");
    PART_9.assert_fails(&train(&own_model, &run, &[]), 1, "moved aside");
    let other_lr = ["train", "--resume", "--model", &model, "--out", &run, "--lr", "0.5"];
    PART_9.assert_fails(&other_lr, 1, "lr was 0.0002 and is 0.5");
}

#[test]
fn resuming_with_other_weights_or_another_reward_model_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, reward_model) = (model(folder.path()), path_arg(folder.path(), "reward"));
    let out = path_arg(folder.path(), "out");
    let save_reward_model = |weight| {
        save_untrained_reward_model(&model, Path::new(&reward_model), weight).expect("saved");
    };
    save_reward_model(0.1);
    let rewards = format!("random=0.5,{reward_model}=2");
    let flags = ["--reward", &rewards, "--stop-after", "2", "--save-interval", "1"];
    PART_9.stdout(&train(&model, &out, &flags));
    save_reward_model(0.2);
    let resume = ["train", "--resume", "--model", &model, "--out", &out];
    PART_9.assert_fails(&resume, 1, "another reward function");
    save_reward_model(0.1);
    model_with_seed(folder.path(), "start", 2);
    PART_9.assert_fails(&resume, 1, "from other weights");
    model_with_seed(folder.path(), "start", 1);
    PART_9.stdout(&resume);
}
