use std::fs;

use anyhow::Result;
use serde_json::json;

use crate::RunFolder;

#[test]
fn an_input_of_a_new_run_is_not_moved_aside_with_the_old_run() -> Result<()> {
    let parent = tempfile::tempdir()?;
    let path = |name: &str| parent.path().join(name);
    for folder in ["run/model", "run.previous/model", "run2"] {
        fs::create_dir_all(path(folder))?;
    }
    let check =
        |input: &str| RunFolder::ensure_input_not_overwritten(&path("run"), "--model", path(input));
    let error = |input: &str| check(input).unwrap_err().to_string();
    assert!(check("run.previous/model").is_ok(), "without a run, nothing is moved there");
    assert!(error("run/model").contains("moved aside"), "a new run would write into this folder");
    RunFolder::create(&path("run"), &())?;
    assert!(error("run.previous/model").contains("removed"));
    fs::create_dir(path("run.previous/checkpoints"))?;
    assert!(check("run.previous/model").is_ok(), "a folder with checkpoints is not removed");
    assert!(error("run/../run").contains("--model") && check("run2").is_ok());
    assert!(check("missing").is_ok());
    Ok(())
}

#[test]
fn a_run_does_not_overwrite_a_model_folder() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("config.json");
    fs::write(&config, "a model's")?;
    let error = RunFolder::create(folder.path(), &()).unwrap_err().to_string();
    assert!(
        error.contains("config.json was not written by a training run") && error.contains("--out"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&config)?, "a model's");
    assert_eq!(fs::read_dir(folder.path())?.count(), 1, "no other file is created");
    fs::write(folder.path().join(".lock"), "")?; // a run that was killed at the start
    RunFolder::create(folder.path(), &()).map(drop)
}

#[test]
fn a_model_an_adapter_the_last_model_and_a_checkpoint_belong_to_their_run() -> Result<()> {
    let parent = tempfile::tempdir()?;
    let path = |name: &str| parent.path().join(name);
    RunFolder::create(&path("run"), &json!({ "seed": 7 }))?;
    let step = "run/checkpoints/step-40";
    let policy = "run/checkpoints/step-40/policy";
    let models = ["run/model", "run/adapter", "run/final", step, policy];
    for folder in models.iter().chain(&["run/base", "run/final/more", "other/model"]) {
        fs::create_dir_all(path(folder))?;
    }
    fs::write(path("run/model/config.json"), "{}")?; // a model's
    for model in models.iter().chain(&["run", "run/final/", "run/base/../final"]) {
        let settings = RunFolder::settings_of_model(&path(model))?;
        assert_eq!(settings, Some(json!({ "seed": 7 })), "{model}");
    }
    for other in ["run/base", "run/final/more", "other/model", "other", "run/checkpoints"] {
        assert_eq!(RunFolder::find_run(&path(other)), None, "{other}");
    }
    Ok(())
}

#[test]
fn a_run_without_its_log_is_moved_aside_and_not_mixed_with_a_new_one() -> Result<()> {
    let parent = tempfile::tempdir()?;
    let path = |name: &str| parent.path().join(name);
    RunFolder::create(&path("run"), &())?;
    fs::create_dir_all(path("run/checkpoints/step-40"))?;
    fs::remove_file(path("run/metrics.jsonl"))?;
    assert!(RunFolder::read_settings(&path("run"))?.is_some(), "it can be resumed");
    let (_run, rows) = RunFolder::resume(&path("run"), 40)?;
    assert!(rows.is_empty() && path("run/metrics.jsonl").exists());
    drop(_run);
    fs::remove_file(path("run/metrics.jsonl"))?;
    RunFolder::create(&path("run"), &())?;
    assert!(!path("run/checkpoints").exists(), "the new run has none of the old checkpoints");
    assert!(path("run.previous/checkpoints/step-40").exists());
    Ok(())
}

#[test]
fn a_key_that_had_another_meaning_is_read_with_the_old_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let read = |name: &str, settings: serde_json::Value| -> Result<serde_json::Value> {
        let path = folder.path().join(name);
        RunFolder::create(&path, &settings)?;
        Ok(RunFolder::read_settings(&path)?.unwrap_or_default())
    };
    let old = read("old", json!({ "lr": 0.1, "ref_model_sync_steps": 6 }))?;
    assert_eq!(old, json!({ "lr": 0.1, "sync_ref": 6 }));
    let new = json!({ "ref_model_sync_steps": 6, "sync_ref": null, "sync_ref_model": true });
    assert_eq!(read("new", new.clone())?, new);
    Ok(())
}

#[test]
fn what_a_kill_leaves_of_a_removed_run_is_not_in_the_way() -> Result<()> {
    let parent = tempfile::tempdir()?;
    let path = |name: &str| parent.path().join(name);
    // A process was killed while it removed run.previous, of which some files are left.
    fs::create_dir_all(path("run.previous.removed/model"))?;
    for _ in 0..3 {
        RunFolder::create(&path("run"), &())?;
    }
    let mut names: Vec<_> =
        fs::read_dir(parent.path())?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    names.sort();
    assert_eq!(names, ["run", "run.previous"]);
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_link_to_a_run_folder_stays_and_the_run_behind_it_is_moved_aside() -> Result<()> {
    let parent = tempfile::tempdir()?;
    let path = |name: &str| parent.path().join(name);
    fs::create_dir(path("disk"))?;
    std::os::unix::fs::symlink("disk/run", path("run"))?; // to a folder that does not exist yet
    for _ in 0..2 {
        RunFolder::create(&path("run"), &())?;
        assert!(fs::symlink_metadata(path("run"))?.is_symlink());
        assert!(path("disk/run/metrics.jsonl").exists());
    }
    assert!(path("disk/run.previous/metrics.jsonl").exists());
    assert_eq!(fs::read_dir(parent.path())?.count(), 2);
    let input = path("disk/run.previous/metrics.jsonl");
    let removed = RunFolder::ensure_input_not_overwritten(&path("run"), "--data", &input);
    assert!(removed.unwrap_err().to_string().contains("would be removed"));
    Ok(())
}

#[test]
fn temporary_files_of_a_killed_process_are_removed_when_a_run_is_resumed() -> Result<()> {
    let parent = tempfile::tempdir()?;
    let path = parent.path().join("run");
    RunFolder::create(&path, &())?;
    fs::create_dir(path.join("model"))?;
    for folder in [&path, &path.join("model")] {
        let file = tensor_core::atomic_file::create_temp_file(&folder.join("config.json"))?;
        file.keep()?; // as if the process had been killed before the rename
    }
    let entries = |folder: &std::path::Path| fs::read_dir(folder).map(Iterator::count);
    assert_eq!((entries(&path)?, entries(&path.join("model"))?), (6, 1));
    RunFolder::resume(&path, 0)?;
    assert_eq!((entries(&path)?, entries(&path.join("model"))?), (5, 0));
    Ok(())
}

#[test]
fn a_resumed_run_has_whole_completions_up_to_its_checkpoint() -> Result<()> {
    let parent = tempfile::tempdir()?;
    let folder = parent.path().join("run");
    let path = folder.join("completions.jsonl");
    let run = RunFolder::create(&folder, &())?;
    let rows = |step| [json!({"step": step, "completion": "a\n"}), json!({"step": step})];
    for step in [2, 4, 6] {
        run.append_completions(&rows(step))?;
    }
    drop(run);
    let whole = fs::read_to_string(&path)?;
    for (text, step, n_rows) in [
        (whole.clone() + "{\"step\": 6, \"comp", 6, 6), // a killed process wrote half of a row
        (whole.clone(), 5, 4),
        (whole.clone(), 1, 0),
    ] {
        fs::write(&path, text)?;
        let (run, _) = RunFolder::resume(&folder, step)?;
        let kept = fs::read_to_string(&path)?;
        assert!(whole.starts_with(&kept) && kept.lines().count() == n_rows, "{step}: {kept}");
        drop(run);
    }
    RunFolder::create(&folder, &())?;
    assert!(!path.exists(), "a new run has none");
    Ok(())
}
