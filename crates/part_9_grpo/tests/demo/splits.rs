//! Validation problems of a run that starts from a fine-tuned model.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};
use tensor_core::testing::path_arg;

use crate::{PART_9, model_with_seed, train};

/// Folder of a run of part 6 on `data`, which has held out a quarter of the rows.
fn fine_tuning_run(folder: &Path, data: &str) -> Result<String> {
    let run = folder.join("sft");
    fs::create_dir_all(run.join("model"))?;
    model_with_seed(&run, "model", 1);
    let settings = json!({ "data": data, "examples": 200, "validation": 0.25, "seed": 4 });
    fs::write(run.join("config.json"), settings.to_string())?;
    fs::write(run.join("metrics.jsonl"), "")?; // marks the folder of a run
    Ok(path_arg(folder, "sft"))
}

fn split_rule(run: &str) -> Result<[Value; 3]> {
    let text = fs::read_to_string(Path::new(run).join("config.json"))?;
    let settings: Value = serde_json::from_str(&text)?;
    Ok(["n_rows", "n_validation", "seed"].map(|key| settings["split_rule"][key].clone()))
}

#[test]
fn a_run_holds_out_the_rows_that_the_run_of_its_model_held_out() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (data, out) = (path_arg(folder.path(), "rows.jsonl"), path_arg(folder.path(), "run"));
    let row = |i: usize| format!("{{\"prompt\": \"{i} + 1?\", \"answer\": \"{}\"}}\n", i + 1);
    fs::write(&data, (0..40).map(row).collect::<String>())?;
    let sft = fine_tuning_run(folder.path(), &data)?;

    let text = PART_9.stdout(&train(&sft, &out, &["--data", &data, "--stop-after", "2"]));
    assert!(text.contains("held out for validation are the rows that"), "{text}");
    assert!(text.contains("30 problems for training"), "three quarters: {text}");
    assert_eq!(split_rule(&out)?, [json!(40), json!(10), json!(4)], "it is recorded");
    fs::remove_file(Path::new(&sft).join("config.json"))?;
    PART_9.stdout(&["train", "--resume", "--out", &out]);
    assert_eq!(split_rule(&out)?, [json!(40), json!(10), json!(4)]);
    let eval = ["eval", "--model", &out, "--group-size", "2", "--k", "1", "--json"];
    assert_eq!(PART_9.stdout_json(&eval)["n"], 10, "the rows that both runs held out");
    Ok(())
}

#[test]
fn validation_rows_that_the_model_has_learned_are_counted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (data, out) = (path_arg(folder.path(), "rows.jsonl"), path_arg(folder.path(), "run"));
    let row = |i: usize| format!("{{\"prompt\": \"{i} + 1?\", \"answer\": \"{}\"}}\n", i + 1);
    fs::write(&data, (0..40).map(row).collect::<String>())?;
    let sft = fine_tuning_run(folder.path(), &data)?;
    let flags = ["--data", &data, "--stop-after", "1"];
    for (more, warning) in [
        (&["--eval-file", &data[..], "--split-seed", "4"][..], "cannot be used with"),
        (&["--split-seed", "5", "--validation", "0.5"][..], " of the 20 validation rows"),
        (&["--split-seed", "4", "--validation", "0.25"][..], ""),
        (&["--validation", "0.5"][..], " of the 20 validation rows"),
        (&["--validation", "0.1"][..], ""),
    ] {
        let args = train(&sft, &out, &[&flags[..], more].concat());
        let output = PART_9.command(&args).output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(warning), "{more:?}: {error}");
        assert_eq!(error.contains("was trained on"), warning.contains("rows"), "{error}");
        assert_eq!(output.status.success(), !warning.contains("cannot"), "{error}");
    }
    Ok(())
}

#[test]
fn problems_of_an_eval_file_that_an_earlier_run_was_trained_on_are_left_out() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [data, eval_file, out] =
        ["rows.jsonl", "eval.jsonl", "run"].map(|name| path_arg(folder.path(), name));
    let row = |i: usize| format!("{{\"prompt\": \"{i} + 1?\", \"answer\": \"{}\"}}\n", i + 1);
    fs::write(&data, (0..40).map(row).collect::<String>())?;
    fs::write(&eval_file, (40..80).map(row).collect::<String>())?;
    let sft = fine_tuning_run(folder.path(), &eval_file)?;
    let flags = ["--data", &data, "--eval-file", &eval_file];
    let output = PART_9.command(&train(&sft, &out, &flags)).output()?;
    let warnings = String::from_utf8_lossy(&output.stderr);
    assert!(warnings.contains("was trained on 30 of the 40 validation rows"), "{warnings}");
    let eval = ["eval", "--model", &out, "--group-size", "2", "--k", "1", "--json"];
    assert_eq!(PART_9.stdout_json(&eval)["n"], 10, "those that the fine-tuning held out");
    Ok(())
}
