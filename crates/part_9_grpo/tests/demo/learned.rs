//! Learning: the effect of a reward on models that write a full stop too often or too rarely.

use std::path::Path;

use anyhow::Result;
use datasets::{Example, Preference};
use reward::testing::save_trained_reward_model;
use sft::TrainConfig;
use sft::base_model::{BaseModelConfig, finetune, pretrain};
use tensor_core::testing::path_arg;

use crate::{PART_9, train};

/// Twelve sums with their answers.
fn sums() -> Vec<(String, String)> {
    (0..12).map(|i| (format!("What is {i} + 3?"), format!("{}", i + 3))).collect()
}

/// Model `name` in `folder` that knows the sums and ends each answer with one of `ends`, equally
/// often.
fn train_model(folder: &Path, name: &str, ends: [&str; 3]) -> Result<String> {
    let sums = sums();
    let examples = ends.into_iter().flat_map(|end| {
        sums.iter()
            .map(move |(prompt, answer)| Example::new(prompt.as_str(), format!("{answer}{end}")))
    });
    let examples: Vec<Example> = examples.collect();
    let config = BaseModelConfig { n_layer: 1, n_head: 2, n_embd: 32, steps: 0 };
    let untrained = pretrain(config, 1, &candle_core::Device::Cpu)?;
    let train_config = TrainConfig::with_defaults(36, 150, 1e-2, 1);
    finetune(untrained, &examples, &train_config)?.save(&folder.join(name))?;
    Ok(path_arg(folder, name))
}

/// File `name` in `folder` of these sums.
fn write_sums(folder: &Path, name: &str, sums: &[(String, String)]) -> Result<String> {
    let rows = sums.iter().map(|(prompt, answer)| {
        format!("{}\n", serde_json::json!({ "prompt": prompt, "answer": answer }))
    });
    std::fs::write(folder.join(name), rows.collect::<String>())?;
    Ok(path_arg(folder, name))
}

fn metric(metrics: &serde_json::Value, key: &str) -> f64 {
    metrics[key].as_f64().expect(key)
}

/// Checks the change of exact match at the end of `text`, which `train --json` printed.
fn reports_the_change_of_exact_match(text: &str) {
    let json = text.lines().last().expect("a line");
    let result: serde_json::Value = serde_json::from_str(json).expect("JSON");
    let [before, after, points] =
        ["_before", "", "_points"].map(|end| metric(&result, &format!("val_exact_match{end}")));
    assert!((points - 100. * (after - before)).abs() < 1e-9, "{result}");
    let change = format!("{:.1} % → {:.1} %: {points:+.1} points", 100. * before, 100. * after);
    assert!(text.contains(&format!("validation problems: exact match {change}")), "{text}");
}

/// Checks what `eval` prints about the 12 problems of `data`, of which this share is right.
fn prints_each_problem(run: &str, data: &str, exact_match: f64) {
    let all = ["--data", data, "--num-completions-to-print", "100"];
    let text = PART_9.stdout(&[&["eval", "--model", run], &all[..]].concat());
    for line in [" expected  ", "extracted  ", " response  ", "(reward "] {
        assert_eq!(text.matches(line).count(), 12, "{line}: {text}");
    }
    assert_eq!(text.matches("✓").count(), (exact_match * 12.).round() as usize, "{text}");
    assert!(text.contains("from the reference to the policy: exact match 0.0 % → "), "{text}");
}

#[test]
fn training_raises_pass_at_1_and_a_negative_reward_lowers_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    // Greedy completions of the one model are wrong, of the other right, so that either reward
    // makes validations better.
    let noisy = train_model(folder, "noisy", ["", ".", "."])?;
    let clean = train_model(folder, "clean", ["", "", "."])?;
    let all = write_sums(folder, "all.jsonl", &sums())?;
    let train_file = write_sums(folder, "train.jsonl", &sums()[..9])?;
    let eval_file = write_sums(folder, "validation.jsonl", &sums()[9..])?;
    let eval = |model: &str| {
        let flags = ["--data", &all, "--reward", "exact", "--json", "--model", model];
        PART_9.stdout_json(&[&["eval", "--group-size", "16", "--k", "4"], &flags[..]].concat())
    };
    let before = |model: &str| {
        let before = eval(model);
        let [pass_at_1, pass_at_4] = ["pass_at_1", "pass_at_k"].map(|key| metric(&before, key));
        assert!(pass_at_1 > 0.2 && pass_at_1 < 0.8 && pass_at_4 > pass_at_1 + 0.1, "{before}");
        assert!(
            metric(&before, "relaxed_match") > 0.9 && metric(&before, "eos_rate") > 0.9,
            "{before}"
        );
        before
    };
    let after = |model: &str, reward: &str| {
        let out = path_arg(folder, reward);
        let more =
            ["--data", &train_file, "--eval-file", &eval_file, "--reward", reward, "--lr", "1e-3"];
        let size =
            ["--steps", "30", "--batch-size", "9", "--group-size", "8", "--eval-interval", "0"];
        let text = PART_9.stdout(&train(model, &out, &[&more[..], &size, &["--json"]].concat()));
        reports_the_change_of_exact_match(&text);
        eval(&out)
    };
    let (before_better, better) = (before(&noisy), after(&noisy, "exact"));
    let (before_worse, worse) = (before(&clean), after(&clean, "exact=-1"));
    let rise = |before, after| metric(after, "pass_at_1") - metric(before, "pass_at_1");
    assert!(rise(&before_better, &better) > 0.15, "{before_better} {better}");
    assert!(rise(&before_worse, &worse) < -0.15, "{before_worse} {worse}");
    let [wins, losses] = [&better, &worse].map(|metrics| metric(metrics, "win_rate"));
    assert!(wins > 0.5 && losses < 0.5, "{better} {worse}");
    assert!(metric(&better, "reward_mean") > metric(&better, "reward_ref_mean"));
    assert_eq!(metric(&better, "reward_ref_mean"), metric(&before_better, "exact_match"));
    assert_eq!(metric(&better, "exact_match_ref"), metric(&before_better, "exact_match"));
    assert!(metric(&better, "exact_match_points") > 0., "{better}");
    prints_each_problem(&path_arg(folder, "exact"), &all, metric(&better, "exact_match"));
    assert!(metric(&better, "kl_per_completion") > 0.01 && before_better.get("kl").is_none());
    // By default, a run is evaluated on its validation problems with its reward.
    let run = path_arg(folder, "exact=-1");
    let own = PART_9.stdout_json(&["eval", "--group-size", "8", "--json", "--model", &run]);
    assert_eq!(own["n"], 3, "{own}");
    assert_eq!(metric(&own, "reward_mean"), -metric(&own, "exact_match"));
    // For a run that recorded no split and no task, all problems of --data are used.
    let config = Path::new(&run).join("config.json");
    let mut settings: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&config)?)?;
    settings.as_object_mut().expect("settings").remove("task");
    std::fs::write(&config, settings.to_string())?;
    let eval = ["eval", "--group-size", "8", "--json", "--model", &run, "--data", &train_file];
    let n_rows = std::fs::read_to_string(&train_file)?.lines().count();
    assert_eq!(PART_9.stdout_json(&eval)["n"], n_rows);
    Ok(())
}

/// Part 7 learns from pairs that a bare answer is better than one with a full stop, and part 9 is
/// paid by that model alone.
#[test]
fn a_trained_reward_model_pays_grpo_and_the_exact_match_rises() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let noisy = train_model(folder, "noisy", ["", ".", "."])?;
    let pairs = sums().into_iter().map(|(prompt, answer)| {
        let rejected = format!("{answer}.");
        Preference::new(prompt, answer, rejected)
    });
    let paid_by = path_arg(folder, "reward");
    save_trained_reward_model(&noisy, Path::new(&paid_by), &pairs.collect::<Vec<_>>(), 60)?;

    let all = write_sums(folder, "all.jsonl", &sums())?;
    let eval = |model: &str| {
        let flags = ["--data", &all, "--reward", "exact", "--json", "--model", model];
        PART_9.stdout_json(&[&["eval", "--group-size", "16", "--k", "4"], &flags[..]].concat())
    };
    let out = path_arg(folder, "grpo");
    let size = ["--steps", "30", "--batch-size", "9", "--group-size", "8", "--eval-interval", "0"];
    let more = ["--data", &all, "--reward", &paid_by, "--lr", "1e-3"];
    let text = PART_9.stdout(&train(&noisy, &out, &[&more[..], &size].concat()));
    let (before, after) = (metric(&eval(&noisy), "pass_at_1"), metric(&eval(&out), "pass_at_1"));
    assert!(before < 0.8 && after > before + 0.15, "{before} {after} {text}");
    Ok(())
}

#[test]
fn every_algorithm_is_tested_on_the_problems_that_the_model_solves_sometimes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let model = train_model(folder, "noisy", ["", ".", "."])?; // right in a third of its samples
    let mut problems = sums();
    problems[0].1 = "99".into(); // never
    let (data, out) =
        (write_sums(folder, "sums.jsonl", &problems)?, path_arg(folder, "perfectible"));
    let flags = ["perfectible", "--model", &model, "--data", &data, "--out", &out, "--seeds", "1"];
    let args = [&flags[..], &["--tokens", "15000", "--lr", "0.01"]].concat();
    let text = PART_9.stdout(&args);
    let kept = std::fs::read_to_string(folder.join("perfectible/problems.jsonl"))?;
    assert!((6..12).contains(&kept.lines().count()), "{kept}");
    assert!(!kept.contains("99"), "a problem that is never solved: {kept}");
    let rows = std::fs::read(folder.join("perfectible/rows.json"))?;
    let rows: serde_json::Value = serde_json::from_slice(&rows)?;
    for (i, name) in
        ["PPO", "GRPO", "Dr. GRPO", "RLOO", "REINFORCE with baseline"].into_iter().enumerate()
    {
        assert!(text.contains(&format!("\n| {name} | ")), "{name}: {text}");
        let accuracy = rows[1][i]["training_accuracy"].as_f64();
        assert!(rows[1][i]["method"] == name && accuracy > Some(0.8), "{name}: {text}");
    }
    let again = PART_9.stdout(&args);
    assert!(!again.contains("seed 1") && again.contains("| PPO | "), "a run was repeated");
    let never = write_sums(folder, "never.jsonl", &problems[..1])?;
    let never = [&flags[..3], &["--data", &never, "--out", &out]].concat();
    PART_9.assert_fails(&never, 1, "the model solves none of 1 problems in 20 to 80 % of 40");
    Ok(())
}
