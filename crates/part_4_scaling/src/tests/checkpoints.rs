//! 4.4: whatever happens, the newest whole checkpoint is found.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::Checkpoints;

fn checkpoints(folder: &Path) -> Checkpoints {
    Checkpoints::new(folder.join("checkpoints"), NonZeroUsize::new(2).expect("not 0"))
}

/// Saves checkpoints of these steps, each with two files.
fn save(checkpoints: &Checkpoints, steps: &[usize]) -> Result<()> {
    for &step in steps {
        checkpoints.save(step, |folder| {
            fs::write(folder.join("a"), format!("a of step {step}"))?;
            Ok(fs::write(folder.join("b"), [7; 1000])?)
        })?;
    }
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<String>> {
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
fn the_newest_are_kept_and_the_newest_is_found() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let checkpoints = checkpoints(folder.path());
    assert!(checkpoints.latest()?.is_none());
    save(&checkpoints, &[8, 9, 10, 11])?;
    assert_eq!(names(folder.path())?, ["step-10", "step-11"], "numbers are compared, not names");
    let (step, path) = newest(&checkpoints)?;
    assert_eq!((step, fs::read_to_string(path.join("a"))?), (11, "a of step 11".into()));
    save(&checkpoints, &[11])?;
    assert_eq!(newest(&checkpoints)?.0, 11, "saved again, it takes its own place");
    Ok(())
}

#[test]
fn any_damage_is_noticed_and_the_one_before_is_taken() -> Result<()> {
    type Damage = fn(&Path) -> std::io::Result<()>;
    let damages: [Damage; 7] = [
        |path| fs::write(path.join("b"), [[7; 999].as_slice(), &[6]].concat()),
        |path| fs::write(path.join("b"), [7; 999]),
        |path| fs::write(path.join("b"), []),
        |path| fs::remove_file(path.join("a")),
        |path| fs::write(path.join("c"), "more"),
        |path| fs::write(path.join("sums.json"), "{"),
        |path| fs::remove_file(path.join("sums.json")),
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
        assert_eq!(newest(&checkpoints)?.0, 2, "a damaged one gives way");
    }
    Ok(())
}

#[test]
fn damaged_ones_do_not_count_among_those_that_are_kept() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let checkpoints = checkpoints(folder.path());
    save(&checkpoints, &[5, 10])?;
    fs::write(folder.path().join("checkpoints/step-10/a"), "other")?;
    fs::create_dir(folder.path().join("checkpoints/step-99"))?;
    assert_eq!(newest(&checkpoints)?.0, 5);
    save(&checkpoints, &[7])?;
    assert_eq!(newest(&checkpoints)?.0, 7);
    let names = names(folder.path())?;
    assert_eq!(names, ["step-10.damaged", "step-5", "step-7", "step-99.damaged"]);
    Ok(())
}

#[test]
fn what_fails_while_it_is_written_leaves_the_others_and_no_rest() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let checkpoints = checkpoints(folder.path());
    let fail = |step| {
        checkpoints.save(step, |folder| {
            fs::write(folder.join("a"), "half")?;
            bail!("the disk is full")
        })
    };
    let error = format!("{:#}", fail(1).expect_err("it failed"));
    assert!(error.contains("there is none before: the disk is full"), "{error}");
    save(&checkpoints, &[5, 6])?;
    let error = format!("{:#}", fail(7).expect_err("it failed"));
    assert!(error.contains("step 6 is whole: --resume continues there: the disk"), "{error}");
    assert_eq!(names(folder.path())?, ["step-5", "step-6"]);
    Ok(())
}

#[test]
fn what_a_killed_run_left_is_no_checkpoint_and_goes_away() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let checkpoints = checkpoints(folder.path());
    save(&checkpoints, &[1])?;
    for name in ["step-2.partial", "step-3.partial"] {
        let left = folder.path().join("checkpoints").join(name);
        fs::create_dir(&left)?;
        fs::write(left.join("a"), "half")?;
    }
    assert_eq!(newest(&checkpoints)?.0, 1);
    save(&checkpoints, &[2])?;
    assert_eq!(names(folder.path())?, ["step-1", "step-2"]);
    Ok(())
}
