//! Learning: the effect of a reward on a model that is right half of the time.

use std::path::Path;

use anyhow::Result;
use datasets::Example;
use sft::base_model::{BaseModelConfig, pretrain};
use sft::{ChatTokenizer, RunOutputs, SftLog, TrainConfig, TrainState, tokenize};
use tensor_core::testing::path_arg;

use crate::{PART_9, train};

/// Model that knows twelve sums and ends half of the answers with a full stop, and files of sums:
/// all, training and validation.
fn half_right_model(folder: &Path) -> Result<(String, [String; 3])> {
    let sums: Vec<(String, String)> =
        (0..12).map(|i| (format!("What is {i} + 3?"), format!("{}", i + 3))).collect();
    let examples = ["", "."].into_iter().flat_map(|end| {
        sums.iter()
            .map(move |(prompt, answer)| Example::new(prompt.as_str(), format!("{answer}{end}")))
    });
    let examples: Vec<Example> = examples.collect();
    let config = BaseModelConfig { n_layer: 1, n_head: 2, n_embd: 32, steps: 0 };
    let mut checkpoint = pretrain(config, 1, &candle_core::Device::Cpu)?;
    let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, None)?;
    let config = *checkpoint.model.config();
    let data = tokenize(&examples, &chat_tokenizer, config.context_len)?.examples;
    let train_config = TrainConfig::with_defaults(24, 150, 1e-2, 1);
    let mut train_state = TrainState::new(config, checkpoint.parameters, train_config.optimizer)?;
    let mut log = SftLog::new(150, 0, 0, 150)?;
    let outputs = RunOutputs::default();
    sft::train(&mut train_state, &data, &train_config, None, &outputs, &mut log)?;
    checkpoint.parameters = train_state.parameters;
    checkpoint.save(&folder.join("half_right"))?;
    let rows = |name: &str, sums: &[(String, String)]| -> Result<String> {
        let rows = sums.iter().map(|(prompt, answer)| {
            format!("{}\n", serde_json::json!({ "prompt": prompt, "answer": answer }))
        });
        std::fs::write(folder.join(name), rows.collect::<String>())?;
        Ok(path_arg(folder, name))
    };
    let files = [
        rows("all.jsonl", &sums)?,
        rows("train.jsonl", &sums[..9])?,
        rows("validation.jsonl", &sums[9..])?,
    ];
    Ok((path_arg(folder, "half_right"), files))
}

#[test]
fn training_raises_pass_at_1_and_a_negative_reward_lowers_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (start, [all, train_file, eval_file]) = half_right_model(folder.path())?;
    let eval = |model: &str| {
        let flags = ["--data", &all, "--reward", "exact", "--json", "--model", model];
        PART_9.stdout_json(&[&["eval", "--group-size", "16", "--k", "4"], &flags[..]].concat())
    };
    let metric = |metrics: &serde_json::Value, key: &str| metrics[key].as_f64().expect(key);
    let before = eval(&start);
    let [pass_at_1, pass_at_4] = ["pass_at_1", "pass_at_k"].map(|key| metric(&before, key));
    assert!(pass_at_1 > 0.2 && pass_at_1 < 0.8 && pass_at_4 > pass_at_1 + 0.1, "{before}");
    assert!(
        metric(&before, "relaxed_match") > 0.9 && metric(&before, "eos_rate") > 0.9,
        "{before}"
    );
    let after = |reward: &str| {
        let out = path_arg(folder.path(), reward);
        let more =
            ["--data", &train_file, "--eval-file", &eval_file, "--reward", reward, "--lr", "1e-3"];
        let size =
            ["--steps", "20", "--batch-size", "9", "--group-size", "8", "--eval-interval", "0"];
        PART_9.stdout(&train(&start, &out, &[&more[..], &size].concat()));
        eval(&out)
    };
    let (better, worse) = (after("exact"), after("exact=-1"));
    assert!(metric(&better, "pass_at_1") > pass_at_1 + 0.15, "{before} {better}");
    assert!(metric(&worse, "pass_at_1") < pass_at_1 - 0.15, "{before} {worse}");
    let [wins, losses] = [&better, &worse].map(|metrics| metric(metrics, "win_rate"));
    assert!(wins > 0.5 && losses < 0.5, "{better} {worse}");
    assert!(metric(&better, "reward_mean") > metric(&better, "reward_ref_mean"));
    assert_eq!(metric(&better, "reward_ref_mean"), metric(&before, "exact_match"));
    assert!(metric(&better, "kl") > 0.01 && before.get("kl").is_none());
    // By default, a run is evaluated on its validation problems with its reward.
    let run = path_arg(folder.path(), "exact=-1");
    let own = PART_9.stdout_json(&["eval", "--group-size", "8", "--json", "--model", &run]);
    assert_eq!(own["n"], 3, "{own}");
    assert_eq!(metric(&own, "reward_mean"), -metric(&own, "exact_match"));
    // For a run of another part, all problems of --data are used.
    let config = Path::new(&run).join("config.json");
    let mut settings: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&config)?)?;
    settings.as_object_mut().expect("settings").remove("task");
    std::fs::write(&config, settings.to_string())?;
    let eval = ["eval", "--group-size", "8", "--json", "--model", &run, "--data", &train_file];
    let n_rows = std::fs::read_to_string(&train_file)?.lines().count();
    assert_eq!(PART_9.stdout_json(&eval)["n"], n_rows);
    Ok(())
}
