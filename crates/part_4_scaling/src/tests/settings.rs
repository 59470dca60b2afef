//! Settings: every source is equivalent to command-line flags, and later sources win.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;
use experiment::RunFolder;
use experiment::run_report::resume_hint;
use experiment::settings::{check_resumable, check_unchanged, expand_config};
use serde_json::json;

use crate::command::Cli;
use crate::command::arguments::TrainArgs;

fn expand(args: &str) -> Result<String> {
    let args = expand_config::<Cli>(args.split(' ').map(OsString::from))?;
    Ok(args.join(&OsString::from(" ")).to_string_lossy().into_owned())
}

#[test]
fn a_settings_file_equals_flags_and_later_sources_win() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("run.yaml");
    std::fs::write(
        &file,
        "# a comment\nn_layer: 6\nlr: 1.0e-3\nrecompute: true\njson: false\nlog: none\ntop_p:\n",
    )?;
    let out = folder.path().join("run");
    RunFolder::create(
        &out,
        &json!({
            "n_layer": 2, "lr": 0.1, "window": null, "log": "wandb", "stop_after": 4, "json": true,
        }),
    )?;
    let flags = format!(
        "--set lr=2 --config={} --out {} --resume --n-layer 8",
        file.display(),
        out.display()
    );
    let line = expand(&format!("part_4 train {flags}"))?;
    let expected =
        format!("part_4 train --gradient-checkpointing --lr=2 --n-layer=6 --tracker=none {flags}");
    assert_eq!(line, expected);
    let off = expand(&format!(
        "part_4 train --config={} --set recompute=false --set lr=null",
        file.display()
    ))?;
    assert!(!off.contains("--gradient-checkpointing") && !off.contains("--lr"), "{off}");
    assert_eq!(expand("part_4 train --n-layer 8")?, "part_4 train --n-layer 8");
    assert_eq!(expand("part_4")?, "part_4");
    Ok(())
}

#[test]
fn old_names_in_files_and_old_runs_become_the_primary_flags() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (file, out) = (folder.path().join("run.yaml"), folder.path().join("run"));
    let line = |flags: &str| expand(&format!("part_4 train {flags}"));
    std::fs::write(&file, "learning_rate: 0.1\nlr_decay: stable\n")?;
    let from_file = line(&format!("--config={}", file.display()))?;
    assert!(from_file.contains("--lr=0.1 --lr-scheduler=warmup_stable_decay"), "{from_file}");

    let old = json!({ "recompute": true, "sample_tokens": 9, "lr_decay": "stable", "keep": 3 });
    RunFolder::create(&out, &old)?;
    let resumed = line(&format!("--resume --output-dir {} --set sample_len=7", out.display()))?;
    let settings = "--gradient-checkpointing --keep-checkpoints=3 \
         --lr-scheduler=warmup_stable_decay --sample-len=7";
    assert!(resumed.contains(settings), "{resumed}");

    std::fs::write(&file, "lr: 1\nlearning_rate: 2\n")?;
    let error = line(&format!("--config {}", file.display())).expect_err("two learning rates");
    assert!(format!("{error:#}").contains("both mean `lr`"), "{error:#}");
    Ok(())
}

/// A run that was begun with `lr_scheduler_type` has both settings in its `config.json`.
#[test]
fn transformers_schedule_is_a_setting_of_its_own_and_the_later_source_wins() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (file, out) = (folder.path().join("run.yaml"), folder.path().join("run"));
    std::fs::write(&file, "lr_scheduler_type: linear\n")?;
    let with_file = format!("part_4 train --config={}", file.display());
    let line = expand(&with_file)?;
    assert!(line.contains("--lr-scheduler-type=linear"), "{line}");
    for later in ["--set lr_scheduler=constant", "--lr-scheduler constant"] {
        let line = expand(&format!("{with_file} {later}"))?;
        assert!(!line.contains("--lr-scheduler-type"), "{line}");
    }
    let both = json!({ "lr_scheduler": "cosine", "lr_scheduler_type": "linear" });
    RunFolder::create(&out, &both)?;
    let line = expand(&format!("part_4 train --resume --out {}", out.display()))?;
    assert!(line.contains("--lr-scheduler=cosine --lr-scheduler-type=linear"), "{line}");
    Ok(())
}

#[test]
fn a_run_whose_keys_were_renamed_is_resumable() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let today = json!({ "gradient_checkpointing": true, "lr_scheduler": "cosine", "lr": 0.1 });
    let old = json!({ "recompute": true, "lr_decay": "cosine", "lr": 0.1, "keep": 3 });
    RunFolder::create(folder.path(), &old)?;
    check_resumable::<TrainArgs>(folder.path(), &today, &[])?;
    let other = json!({ "gradient_checkpointing": false, "lr_scheduler": "cosine", "lr": 0.1 });
    let error = check_resumable::<TrainArgs>(folder.path(), &other, &[]).expect_err("refused");
    assert!(error.to_string().ends_with("gradient_checkpointing was true and is false"), "{error}");
    Ok(())
}

#[test]
fn an_invalid_setting_is_refused_with_its_source() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("run.yaml");
    let error = |args: &str| format!("{:#}", expand(args).expect_err("refused"));
    for (text, message) in [
        ("n_layer: [1, 2]", "`n_layer` must be a single value"),
        ("resume: true", "`resume` is a flag of the command line alone"),
        ("just words", "is not a YAML file of settings"),
        ("a: b: c", "is not a YAML file of settings"),
        ("a: 1\na: 2", "is not a YAML file of settings"),
    ] {
        std::fs::write(&file, text)?;
        let error = error(&format!("part_4 train --config {}", file.display()));
        assert!(error.contains(message) && !error.contains('\n'), "{error}");
    }
    assert!(error("part_4 train --config nowhere.yaml").contains("nowhere.yaml"));
    assert!(error("part_4 train --set n_layer").contains("KEY=VALUE"));
    assert!(error("part_4 train --resume").contains("no run in runs/scaling to resume"));
    Ok(())
}

#[test]
fn changed_settings_are_named_when_a_resume_is_refused() {
    let (old, new) =
        (json!({ "lr": 1e-3, "steps": 5, "log": "none" }), json!({ "lr": 1e-4, "log": "wandb" }));
    let error = check_unchanged(&old, &new, &["log"]).expect_err("refused").to_string();
    assert!(error.ends_with("lr was 0.001 and is 0.0001, steps was 5 and is null"), "{error}");
    assert!(check_unchanged(&old, &new, &["log", "lr", "steps"]).is_ok());
}

#[test]
fn the_resume_command_is_quoted_for_the_shell() {
    let hint = |out: &str| resume_hint("part_4", 2, 4, Path::new(out));
    assert!(hint("runs/a").ends_with(" --out runs/a"));
    let quoted = hint("my runs/Leo's");
    assert!(quoted.ends_with(r" --out 'my runs/Leo'\''s'"), "{quoted}");
}
