//! What a run of the course promises about its folder.

use std::fs;
use std::path::Path;

use anyhow::Result;
use candle_core::Device;
use clap::Parser;

use crate::course::CourseRun;
use crate::settings::CourseSettings;
use crate::stage::StageRecord;
use crate::stages::STAGES;
use crate::{Args, report, scoreboard};

fn asked(flags: &[&str]) -> CourseSettings {
    CourseSettings::from_args(&Args::parse_from(["course"].iter().chain(flags)))
}

fn begun(out: &Path, flags: &[&str]) -> Result<CourseRun> {
    CourseRun::create(out.to_path_buf(), asked(flags), Device::Cpu)
}

/// What was said against it.
fn refused<T>(result: Result<T>) -> String {
    result.err().map(|error| error.to_string()).expect("a refusal")
}

#[test]
fn a_folder_with_something_in_it_is_refused_and_left_alone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("run");
    begun(&out, &[])?;
    assert!(refused(begun(&out, &[])).contains("--resume"));
    let other = folder.path().join("other");
    fs::create_dir(&other)?;
    fs::write(other.join("letter.txt"), "dear")?;
    assert!(refused(begun(&other, &[])).contains("--out"));
    assert!(refused(begun(&other.join("letter.txt"), &[])).contains("--out"));
    assert_eq!(fs::read_to_string(other.join("letter.txt"))?, "dear");
    Ok(())
}

#[test]
fn a_run_goes_on_with_its_own_settings_and_in_one_process() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("run");
    let settings = |flags: &[&str]| CourseRun::load_settings(&out, &asked(flags));
    assert!(refused(settings(&[])).contains("no run"));
    let flags = ["--quick", "--seed", "3", "--device", "cpu"];
    let first = begun(&out, &flags)?;
    let resume = || CourseRun::resume(out.clone(), settings(&[])?, Device::Cpu);
    assert!(refused(resume()).contains("another process"));
    drop(first);
    for less in [&[][..], &["--quick"], &flags] {
        assert_eq!(settings(less)?, asked(&flags));
    }
    assert_eq!(resume()?.settings, asked(&flags));
    assert!(refused(settings(&["--seed", "2"])).contains("with seed 3"));
    Ok(())
}

#[test]
fn a_stage_waits_for_what_it_begins_with_and_what_follows_from_it_is_done_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let course = begun(&folder.path().join("run"), &["--quick"])?;
    assert!(refused(course.redo_stage("base")).contains("--only tokens"));
    for stage in &STAGES {
        fs::create_dir_all(course.stage_folder(stage.name))?;
        StageRecord::default().write(&course.stage_folder(stage.name))?;
    }
    assert!(course.redo_stage("tokens")?);
    let done = |name: &&str| {
        StageRecord::read(&course.stage_folder(name)).is_ok_and(|note| note.is_some())
    };
    let names = || STAGES.iter().map(|stage| stage.name);
    assert_eq!(names().filter(done).collect::<Vec<_>>(), ["attention", "tokens"]);
    for stage in names().filter(|&name| name != "attention") {
        assert!(done(&&*format!("{stage}.previous")), "{stage} is kept");
    }
    fs::create_dir(course.stage_folder("tokens.previous/checkpoints"))?;
    StageRecord::default().write(&course.stage_folder("tokens"))?;
    assert!(course.redo_stage("tokens")? && done(&"tokens.previous-2") && done(&"tokens.previous"));
    Ok(())
}

#[test]
fn the_page_shows_no_marks_of_models_that_are_gone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let course = begun(&folder.path().join("run"), &[])?;
    let board = course.stage_folder("scoreboard");
    fs::create_dir(&board)?;
    let text = r#"{"n": 7, "marks": [], "judge": {"share": 0.5, "low": 0, "high": 1}, "shown": [], "tries": []}"#;
    fs::write(board.join("scoreboard.json"), text)?;
    assert!(scoreboard::open(&board)?.is_some());
    let page = |course: &CourseRun| -> Result<String> {
        report::write(course)?;
        Ok(fs::read_to_string(course.out.join("report.html"))?)
    };
    let without = page(&course)?;
    StageRecord::default().write(&board)?;
    let with = page(&course)?;
    assert!(with.len() > without.len() + 200);
    Ok(())
}

#[test]
fn the_scoreboard_fits_on_a_narrow_terminal() -> Result<()> {
    let nearly = r#"{"share": 0.998, "low": 0.989, "high": 1}"#;
    let marks = format!(
        r#"{{"stage": "fine-tuned", "exact": {nearly}, "forgiven": 1, "ended": 1, "answers": []}}"#
    );
    let board =
        format!(r#"{{"n": 500, "marks": [{marks}], "judge": {nearly}, "shown": [], "tries": []}}"#);
    let lines = scoreboard::table_lines(&serde_json::from_str(&board)?);
    assert_eq!(lines[1], "fine-tuned   99.8 98.9 to 100.0    100.0");
    assert!(lines.iter().all(|line| line.chars().count() <= 40), "{lines:?}");
    Ok(())
}
