//! 4.4: after any damage or interruption, the newest intact checkpoint is found.

use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::Checkpoints;

fn checkpoints(folder: &Path) -> Checkpoints {
    Checkpoints::new(folder.join("checkpoints"), NonZeroUsize::new(2).expect("not 0"))
}

/// Saves checkpoints at these steps, each with two files.
fn save(checkpoints: &Checkpoints, steps: &[usize]) -> Result<()> {
    for &step in steps {
        checkpoints.save(step, |folder| {
            fs::write(folder.join("a"), format!("a of step {step}"))?;
            Ok(fs::write(folder.join("b"), [7; 1000])?)
        })?;
    }
    Ok(())
}

fn entry_names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder.join("checkpoints"))?;
    let mut names: Vec<String> = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.sort();
    Ok(names)
}

fn newest(checkpoints: &Checkpoints) -> Result<(usize, PathBuf)> {
    Ok(checkpoints.latest()?.expect("a checkpoint"))
}

#[test]
fn the_newest_two_are_kept_and_the_latest_is_found() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let checkpoints = checkpoints(folder.path());
    assert!(checkpoints.latest()?.is_none());
    save(&checkpoints, &[8, 9, 10, 11])?;
    assert_eq!(
        entry_names(folder.path())?,
        ["step-10", "step-11"],
        "steps are compared as numbers"
    );
    let (step, path) = newest(&checkpoints)?;
    assert_eq!((step, fs::read_to_string(path.join("a"))?), (11, "a of step 11".into()));
    save(&checkpoints, &[11])?;
    assert_eq!(newest(&checkpoints)?.0, 11, "saving a step again replaces its checkpoint");
    Ok(())
}

#[test]
fn a_damaged_checkpoint_is_skipped_for_the_previous_one() -> Result<()> {
    type Damage = fn(&Path) -> std::io::Result<()>;
    let damages: [Damage; 8] = [
        |path| fs::write(path.join("b"), [[7; 999].as_slice(), &[6]].concat()),
        |path| fs::write(path.join("b"), [7; 999]),
        |path| fs::write(path.join("b"), []),
        |path| fs::remove_file(path.join("a")),
        |path| fs::write(path.join("c"), "more"),
        |path| fs::write(path.join("sums.json"), "{"),
        |path| fs::remove_file(path.join("sums.json")),
        // 2^40 paths, if links were followed.
        |path| ["c", "d"].iter().try_for_each(|name| symlink(".", path.join(name))),
    ];
    for (i, damage) in damages.into_iter().enumerate() {
        let folder = tempfile::tempdir()?;
        let checkpoints = checkpoints(folder.path());
        save(&checkpoints, &[1, 2])?;
        damage(&newest(&checkpoints)?.1)?;
        assert_eq!(newest(&checkpoints)?.0, 1, "damage {i}");
        damage(&newest(&checkpoints)?.1)?;
        let error = checkpoints.latest().expect_err("both are damaged").to_string();
        assert!(error.contains("every checkpoint"), "{error}");
        save(&checkpoints, &[2])?;
        assert_eq!(newest(&checkpoints)?.0, 2, "a damaged one is replaced");
    }
    Ok(())
}

#[test]
fn damaged_checkpoints_do_not_count_towards_those_kept() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let checkpoints = checkpoints(folder.path());
    save(&checkpoints, &[5, 10])?;
    fs::write(folder.path().join("checkpoints/step-10/a"), "other")?;
    fs::create_dir(folder.path().join("checkpoints/step-99"))?;
    assert_eq!(newest(&checkpoints)?.0, 5);
    save(&checkpoints, &[7])?;
    assert_eq!(newest(&checkpoints)?.0, 7);
    let names = entry_names(folder.path())?;
    assert_eq!(names, ["step-10.damaged", "step-5", "step-7", "step-99.damaged"]);
    Ok(())
}

#[test]
fn a_failed_save_leaves_earlier_checkpoints_and_no_partial_folder() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let checkpoints = checkpoints(folder.path());
    let failing_save = |step| {
        checkpoints.save(step, |folder| {
            fs::write(folder.join("a"), "half")?;
            bail!("the disk is full")
        })
    };
    let error = format!("{:#}", failing_save(1).expect_err("disk full"));
    assert!(error.contains("there is no earlier one: the disk is full"), "{error}");
    save(&checkpoints, &[5, 6])?;
    let error = format!("{:#}", failing_save(7).expect_err("disk full"));
    assert!(error.contains("--resume continues from step 6: the disk"), "{error}");
    assert_eq!(entry_names(folder.path())?, ["step-5", "step-6"]);
    Ok(())
}

#[test]
fn partial_folders_of_killed_runs_are_ignored_and_removed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let checkpoints = checkpoints(folder.path());
    save(&checkpoints, &[1])?;
    for name in ["step-2.partial", "step-3.partial"] {
        let partial = folder.path().join("checkpoints").join(name);
        fs::create_dir(&partial)?;
        fs::write(partial.join("a"), "half")?;
    }
    assert_eq!(newest(&checkpoints)?.0, 1);
    save(&checkpoints, &[2])?;
    assert_eq!(entry_names(folder.path())?, ["step-1", "step-2"]);
    Ok(())
}
