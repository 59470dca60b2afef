use std::fs;

use anyhow::Result;

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
