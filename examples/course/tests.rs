//! Tests of the run folder and of the scoreboard.

use std::fs;
use std::path::Path;

use anyhow::Result;
use candle_core::Device;
use clap::Parser;

use crate::course::CourseRun;
use crate::data::{self, Data};
use crate::scoreboard::MODELS;
use crate::settings::CourseSettings;
use crate::stage::{MetricsLog, Plateau, StageRecord};
use crate::stages::STAGES;
use crate::{Args, report, scoreboard};

fn parse_settings(flags: &[&str]) -> CourseSettings {
    CourseSettings::from_args(&Args::parse_from(["course"].iter().chain(flags)))
}

fn create_run(out: &Path, flags: &[&str]) -> Result<CourseRun> {
    CourseRun::create(out.to_path_buf(), parse_settings(flags), Device::Cpu)
}

/// Error message of a call that must fail.
fn error_message<T>(result: Result<T>) -> String {
    result.err().map(|error| error.to_string()).expect("an error")
}

#[test]
fn creating_a_run_refuses_a_folder_that_is_not_empty() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("run");
    create_run(&out, &[])?;
    assert!(error_message(create_run(&out, &[])).contains("--resume"));
    let other = folder.path().join("other");
    fs::create_dir(&other)?;
    fs::write(other.join("letter.txt"), "dear")?;
    assert!(error_message(create_run(&other, &[])).contains("--out"));
    assert!(error_message(create_run(&other.join("letter.txt"), &[])).contains("--out"));
    assert_eq!(fs::read_to_string(other.join("letter.txt"))?, "dear");
    Ok(())
}

#[test]
fn training_in_bf16_is_a_setting_of_the_run_that_every_training_command_gets() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("run");
    drop(create_run(&out, &["--dtype", "bf16"])?);
    let settings = CourseRun::load_settings(&out, &parse_settings(&[]))?;
    assert!(settings.to_flags().contains(&"--dtype=bf16".to_string()));
    assert!(!parse_settings(&[]).to_flags().iter().any(|flag| flag.starts_with("--dtype")));
    Ok(())
}

#[test]
fn a_resumed_run_keeps_its_settings_and_is_locked_to_one_process() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("run");
    let load_settings = |flags: &[&str]| CourseRun::load_settings(&out, &parse_settings(flags));
    assert!(error_message(load_settings(&[])).contains("no run"));
    let flags = ["--quick", "--seed", "3", "--device", "cpu"];
    let first = create_run(&out, &flags)?;
    let resume = || CourseRun::resume(out.clone(), load_settings(&[])?, Device::Cpu);
    assert!(error_message(resume()).contains("another process"));
    drop(first);
    for fewer_flags in [&[][..], &["--quick"], &flags] {
        assert_eq!(load_settings(fewer_flags)?, parse_settings(&flags));
    }
    assert_eq!(resume()?.settings, parse_settings(&flags));
    assert!(error_message(load_settings(&["--seed", "2"])).contains("with seed 3"));
    Ok(())
}

#[test]
fn redoing_a_stage_moves_all_dependent_stages_aside() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let course = create_run(&folder.path().join("run"), &["--quick"])?;
    assert!(error_message(course.redo_stage("base")).contains("--only tokens"));
    for stage in &STAGES {
        fs::create_dir_all(course.stage_folder(stage.name))?;
        StageRecord::default().write(&course.stage_folder(stage.name))?;
    }
    assert!(course.redo_stage("tokens")?);
    let is_done = |name: &&str| {
        StageRecord::read(&course.stage_folder(name)).is_ok_and(|record| record.is_some())
    };
    let names = || STAGES.iter().map(|stage| stage.name);
    assert_eq!(names().filter(is_done).collect::<Vec<_>>(), ["attention", "tokens"]);
    for stage in names().filter(|&name| name != "attention") {
        assert!(is_done(&&*format!("{stage}.previous")), "{stage} has no backup");
    }
    // A backup that holds checkpoints is not overwritten.
    fs::create_dir(course.stage_folder("tokens.previous/checkpoints"))?;
    StageRecord::default().write(&course.stage_folder("tokens"))?;
    assert!(course.redo_stage("tokens")?);
    assert!(is_done(&"tokens.previous-2") && is_done(&"tokens.previous"));
    Ok(())
}

#[test]
fn the_report_leaves_out_a_scoreboard_that_is_not_done() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let course = create_run(&folder.path().join("run"), &[])?;
    let board = course.stage_folder("scoreboard");
    fs::create_dir(&board)?;
    let text = r#"{"n_examples": 7, "models": [], "displayed": [], "groups": [],
        "reward_accuracy": {"value": 0.5, "low": 0, "high": 1}}"#;
    fs::write(board.join("scoreboard.json"), text)?;
    assert!(scoreboard::open(&board)?.is_some());
    let page = |course: &CourseRun| -> Result<String> {
        report::write(course)?;
        Ok(fs::read_to_string(course.out.join("report.html"))?)
    };
    let without_board = page(&course)?;
    StageRecord::default().write(&board)?;
    let with_board = page(&course)?;
    for text in ["to the plateau", "Where learning came from"] {
        assert!(with_board.contains(text) && !without_board.contains(text), "{text}");
    }
    Ok(())
}

#[test]
fn the_plateau_is_the_first_validation_near_the_best() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let row = |(step, value): (usize, f64)| {
        format!("{}\n", serde_json::json!({ "step": step, "val_exact_match": value }))
    };
    let curve = [(0, 0.4), (20, 0.8), (40, 0.89), (60, 0.88), (80, 0.9)];
    fs::write(folder.path().join("metrics.jsonl"), curve.map(row).concat())?;
    let metrics = MetricsLog::read(folder.path())?;
    let plateau = metrics.plateau("val_exact_match");
    assert_eq!(plateau, Some(Plateau { step: 40., total_steps: 80. }));
    assert_eq!(metrics.plateau("val_accuracy"), None);
    let record = StageRecord { seconds: 100., plateau, ..StageRecord::default() };
    assert_eq!(record.plateau_seconds(), Some(50.));
    Ok(())
}

#[test]
fn a_quick_run_trains_on_no_question_of_its_test_set() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let course = create_run(&folder.path().join("run"), &["--quick"])?;
    let tokens = course.stage_folder("tokens");
    fs::create_dir(&tokens)?;
    data::write_files(&tokens, 3)?;
    let text = |prompt: &str| serde_json::json!(prompt).to_string();
    for data in [Data::Demonstrations, Data::Pairs, Data::Questions] {
        let flags = data.flags(&course);
        let file = flags[0].strip_prefix("--data=").expect("a file");
        let rows = fs::read_to_string(file)?;
        assert!(rows.lines().count() >= 1600, "{file}");
        for example in data::test_set(&course) {
            assert!(!rows.contains(&text(&example.prompt[0].content)), "{file}");
        }
    }
    let noisy = fs::read_to_string(tokens.join("demonstrations.jsonl"))?;
    let with_stop = noisy.lines().filter(|row| row.contains(".\"")).count() as f64;
    assert!(with_stop > 0.2 * 1600., "the demonstrations have the habit");
    Ok(())
}

#[test]
fn the_scoreboard_needs_every_model_of_the_table() {
    let board = STAGES.iter().find(|stage| stage.name == "scoreboard").expect("a scoreboard");
    for (stage, name) in MODELS {
        assert!(board.prerequisites.contains(&stage), "{name}");
    }
    assert!(STAGES.iter().all(|stage| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        stage.reading.iter().all(|file| root.join(file).exists())
    }));
}

/// A scoreboard as older versions wrote it; its keys remain readable.
const OLD_SCOREBOARD: &str = r#"{
    "n": 500, "shown": [], "tries": [], "judge": {"share": 0.998, "low": 0.989, "high": 1},
    "marks": [{
        "stage": "fine-tuned", "exact": {"share": 0.998, "low": 0.989, "high": 1},
        "forgiven": 1, "ended": 1, "answers": []
    }]
}"#;

#[test]
fn the_scoreboard_fits_on_a_narrow_terminal() -> Result<()> {
    let lines = scoreboard::table_lines(&serde_json::from_str(OLD_SCOREBOARD)?);
    assert_eq!(lines[1], "fine-tuned    99.8 98.9 to 100.0   100.0");
    assert!(lines.iter().all(|line| line.chars().count() <= 40), "{lines:?}");
    Ok(())
}
