//! What a reward does to a model that is right half of the time.

use std::path::Path;

use anyhow::Result;
use sft::base_model::{BaseModelConfig, pretrain};
use sft::{ChatTokenizer, Example, RunOutputs, SftLog, TrainConfig, TrainState, tokenize};
use tensor_core::testing::path_arg;

use crate::{PART_9, train};

/// A model that knows twelve sums and says every other answer with a full stop, and the sums: all, those to learn from, and the others.
fn half_taught(folder: &Path) -> Result<(String, [String; 3])> {
    let sums: Vec<(String, String)> =
        (0..12).map(|i| (format!("What is {i} + 3?"), format!("{}", i + 3))).collect();
    let habits = ["", "."].into_iter().flat_map(|end| {
        sums.iter()
            .map(move |(asked, answer)| Example::new(asked.as_str(), format!("{answer}{end}")))
    });
    let examples: Vec<Example> = habits.collect();
    let config = BaseModelConfig { n_layer: 1, n_head: 2, n_embd: 32, steps: 0 };
    let mut checkpoint = pretrain(config, 1, &candle_core::Device::Cpu)?;
    let speech = ChatTokenizer::from_checkpoint(&mut checkpoint, None)?;
    let config = *checkpoint.model.config();
    let data = tokenize(&examples, &speech, config.context_len)?.examples;
    let how = TrainConfig::with_defaults(24, 150, 1e-2, 1);
    let mut tuning = TrainState::new(config, checkpoint.parameters, how.optimizer)?;
    let mut log = SftLog::new(150, 0, 0, 150)?;
    sft::train(&mut tuning, &data, &how, None, &RunOutputs::default(), &mut log)?;
    checkpoint.parameters = tuning.parameters;
    checkpoint.save(&folder.join("taught"))?;
    let rows = |name: &str, sums: &[(String, String)]| -> Result<String> {
        let rows = sums.iter().map(|(prompt, answer)| {
            format!("{}\n", serde_json::json!({ "prompt": prompt, "answer": answer }))
        });
        std::fs::write(folder.join(name), rows.collect::<String>())?;
        Ok(path_arg(folder, name))
    };
    let files = [
        rows("all.jsonl", &sums)?,
        rows("most.jsonl", &sums[..9])?,
        rows("few.jsonl", &sums[9..])?,
    ];
    Ok((path_arg(folder, "taught"), files))
}

#[test]
fn what_is_rewarded_is_said_more_often_and_what_costs_less_often() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (start, [all, most, few]) = half_taught(folder.path())?;
    let measured = |model: &str| {
        let flags = ["--data", &all, "--reward", "exact", "--json", "--model", model];
        PART_9.stdout_json(&[&["eval", "--group-size", "16", "--k", "4"], &flags[..]].concat())
    };
    let figure = |found: &serde_json::Value, key: &str| found[key].as_f64().expect(key);
    let before = measured(&start);
    let [once, in_four] = ["pass_at_1", "pass_at_k"].map(|key| figure(&before, key));
    assert!(once > 0.2 && once < 0.8 && in_four > once + 0.1, "{before}");
    assert!(
        figure(&before, "relaxed_match") > 0.9 && figure(&before, "eos_rate") > 0.9,
        "{before}"
    );
    let after = |reward: &str| {
        let out = path_arg(folder.path(), reward);
        let more = ["--data", &most, "--eval-file", &few, "--reward", reward, "--lr", "1e-3"];
        let size =
            ["--steps", "20", "--batch-size", "9", "--group-size", "8", "--eval-interval", "0"];
        PART_9.stdout(&train(&start, &out, &[&more[..], &size].concat()));
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
    // Asked nothing else, it is asked what its run decided by, and paid as there.
    let run = path_arg(folder.path(), "exact=-1");
    let own = PART_9.stdout_json(&["eval", "--group-size", "8", "--json", "--model", &run]);
    assert_eq!(own["n"], 3, "{own}");
    assert_eq!(figure(&own, "reward_mean"), -figure(&own, "exact_match"));
    // A run of another part has not set a tenth of the same file aside.
    let config = Path::new(&run).join("config.json");
    let mut settings: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&config)?)?;
    settings.as_object_mut().expect("settings").remove("task");
    std::fs::write(&config, settings.to_string())?;
    let eval = ["eval", "--group-size", "8", "--json", "--model", &run, "--data", &most];
    assert_eq!(PART_9.stdout_json(&eval)["n"], std::fs::read_to_string(&most)?.lines().count());
    Ok(())
}
