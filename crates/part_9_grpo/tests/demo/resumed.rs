//! A run that is stopped goes on as if it had not been, and with nothing but what it began with.

use std::path::Path;

use reward::testing::save_untrained_reward_model;
use tensor_core::testing::path_arg;

use crate::{PART_9, model, of_seed, train};

/// What a row of figures holds.
const FIGURES: [&str; 7] = [
    "reward_mean",
    "kl",
    "kl_per_token",
    "clip_fraction",
    "sampler_log_prob_diff",
    "frac_groups_zero_advantage",
    "generation_time_fraction",
];
/// What `eval --json` says.
const KEYS: [&str; 16] = [
    "n",
    "reward_mean",
    "reward_ref_mean",
    "win_rate",
    "win_rate_low",
    "win_rate_high",
    "kl",
    "kl_per_token",
    "length_mean",
    "exact_match",
    "exact_match_low",
    "exact_match_high",
    "temperature",
    "k",
    "pass_at_1",
    "pass_at_k",
];

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
    let (whole, parts) = (path_arg(folder.path(), "whole"), path_arg(folder.path(), "parts"));
    // Every feature that keeps something between steps: two updates per rollout, a reference that is renewed.
    let more = [
        "--num-iterations",
        "2",
        "--ref-model-sync-steps",
        "3",
        "--kl-coef",
        "0.1",
        "--importance-sampling-cap",
        "2",
        "--log-interval",
        "2",
    ];
    let text = PART_9.stdout(&train(&model, &whole, &more));
    assert!(text.contains("paid for: chance") && text.contains("% of it writing"), "{text}");
    let text = PART_9.stdout(&train(&model, &parts, &[&more[..], &["--stop-after", "3"]].concat()));
    assert!(text.contains("-p part_9 -- train --resume"), "{text}");
    let other = of_seed(folder.path(), "other", 2);
    PART_9.assert_fails(
        &["train", "--resume", "--model", &other, "--out", &parts],
        1,
        "cannot go on with",
    );
    PART_9.stdout(&["train", "--resume", "--model", &model, "--out", &parts]);
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
    let eval = [
        "eval",
        "--model",
        &whole,
        "--eval-examples",
        "12",
        "--group-size",
        "3",
        "--k",
        "2",
        "--json",
    ];
    let found = PART_9.stdout_json(&eval);
    for key in KEYS {
        assert!(found[key].is_number(), "{key} in {found}");
    }
    assert_eq!(found["n"], 12);
    let learned = path_arg(folder.path(), "whole/model");
    PART_9.assert_fails(&train(&learned, &whole, &[]), 1, "which would be moved aside");
    PART_9.assert_fails(
        &["train", "--resume", "--model", &model, "--out", &whole, "--lr", "0.5"],
        1,
        "lr was 0.0002 and is 0.5",
    );
}

#[test]
fn a_run_goes_on_from_no_other_weights_and_with_no_other_judge() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, judge) = (model(folder.path()), path_arg(folder.path(), "judge"));
    let out = path_arg(folder.path(), "out");
    let judged = |weight| {
        save_untrained_reward_model(&model, Path::new(&judge), weight).expect("a reward model");
    };
    judged(0.1);
    let mix = format!("chance=0.5,{judge}=2");
    let flags = ["--reward", &mix, "--stop-after", "2", "--save-interval", "1"];
    PART_9.stdout(&train(&model, &out, &flags));
    judged(0.2);
    let resume = ["train", "--resume", "--model", &model, "--out", &out];
    PART_9.assert_fails(&resume, 1, "scored by another");
    judged(0.1);
    of_seed(folder.path(), "start", 2);
    PART_9.assert_fails(&resume, 1, "from other weights");
    of_seed(folder.path(), "start", 1);
    PART_9.stdout(&resume);
}
