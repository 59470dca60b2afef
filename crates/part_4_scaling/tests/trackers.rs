//! 4.5: the packages `tensorboard` and `wandb` read what was logged.
//!
//! The tests run if `$COURSE_PYTHON` (else `python3`) has tensorboard, and wandb up to 0.29.
//! Otherwise they print that they are skipped.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::Result;
use experiment::tensorboard::TensorBoard;
use experiment::wandb::Wandb;
use serde_json::{Value, json};
use tensor_core::testing::assert_python_agrees;

const SAMPLE: &str = "Once upon a time | there was\n\nनमस्ते 😀";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n any bytes: readers do not decode them \x00\xff";

/// Asserts that the Python package `tracker` reads from `path` the contents in `check`.
fn assert_reads(tracker: &str, path: &Path, check: &Value) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("check.json");
    std::fs::write(&file, check.to_string())?;
    let arguments: [&OsStr; 3] = [tracker.as_ref(), path.as_ref(), file.as_ref()];
    assert_python_agrees("check_events.py", arguments);
    Ok(())
}

fn settings() -> Value {
    json!({ "lr": 0.001, "model": { "n_layer": 2, "name": "tiny" }, "seen": [1, 2], "tied": true })
}

/// Writes two event files, as a killed and resumed run leaves them: the first is torn, and its
/// steps from 2 on are superseded.
fn log_events(folder: &Path) -> Result<()> {
    let mut killed = TensorBoard::create(folder)?;
    killed.hparams(&settings())?;
    for step in 0..4 {
        killed.scalar(step, "loss", 9. - step as f64)?;
    }
    let file = std::fs::read(killed.path())?;
    std::fs::write(killed.path(), &file[..file.len() - 3])?;
    let mut events = TensorBoard::create(folder)?;
    events.resume_from(2)?;
    for (step, value) in (2..).zip([6.5, f64::NAN, f64::INFINITY, -1e300, 1e30, -0.]) {
        events.scalar(step, "loss", value)?;
    }
    events.histogram(7, "weights", &[-1., 0.5, 0.5, f32::NAN, f32::NEG_INFINITY, f32::MAX])?;
    events.histogram(7, "nothing", &[])?;
    events.text(7, "sample", SAMPLE)?;
    events.text(8, "sample", "")?;
    events.image(9, "attention", PNG, 640, 480)?;
    events.flush()
}

#[test]
fn tensorboard_reads_the_event_files() -> Result<()> {
    let folder = tempfile::tempdir()?;
    log_events(folder.path())?;
    let table = "| setting | value |\n|---|---|\n| lr | 0.001 |\n| model.n_layer | 2 |\n\
                 | model.name | tiny |\n| seen | [1,2] |\n| tied | true |\n";
    let large = f64::from(f32::MAX);
    let float = f64::from(1e30f32).to_string();
    let check = json!({
        "scalars": { "loss": [
            [0, "9"], [1, "8"], [2, "6.5"], [3, "nan"], [4, "inf"], [5, "-inf"],
            [6, float], [7, "-0"],
        ] },
        "histograms": { "weights": [7, -1., large, 4, large], "nothing": [7, 0, 0, 0, 0] },
        "texts": { "settings": [[0, table]], "sample": [[7, SAMPLE], [8, ""]] },
        "images": { "attention": [9, 640, 480, PNG] },
        "hparams": {
            "lr": 0.001, "model.n_layer": 2, "model.name": "tiny", "seen": "[1,2]", "tied": true,
        },
    });
    assert_reads("tensorboard", folder.path(), &check)
}

#[test]
fn wandb_reads_the_offline_runs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let long = "long ".repeat(20_000); // several blocks
    let config = settings();
    let check = |finished: bool, rows: usize| {
        let mut history = vec![json!({ "loss": 9.25, "lr": 1e-3, "_step": 0 })];
        history.push(json!({ "loss": "nan", "sample": long, "_step": 300 }));
        history.extend((301..601).map(|step| json!({ "loss": -1e300, "_step": step })));
        history.truncate(rows);
        json!({
            "project": "stories", "name": "first run", "config": config,
            "history": history, "finished": finished,
        })
    };
    let mut run = Wandb::create(folder.path(), "stories", "first run", &config)?;
    let path = run.path().to_path_buf();
    run.log(0, json!({ "loss": 9.25, "lr": 1e-3 }).as_object().expect("an object"))?;
    let row = json!({ "loss": f64::NAN, "sample": long });
    run.log(300, row.as_object().expect("an object"))?;
    assert_reads("wandb", &path, &check(false, 2))?;
    for step in 301..601 {
        run.log(step, json!({ "loss": -1e300 }).as_object().expect("an object"))?;
    }
    run.finish()?;
    assert_reads("wandb", &path, &check(true, 302))
}
