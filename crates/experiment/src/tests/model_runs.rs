//! Runs that led to a model.

use std::fs;

use anyhow::Result;
use serde_json::json;

use crate::RunFolder;
use crate::model_runs::{TracedRuns, trace_runs};

#[test]
fn the_runs_that_led_to_a_model_are_followed_back_to_the_first() -> Result<()> {
    let parent = tempfile::tempdir()?;
    let path = |name: &str| parent.path().join(name);
    let runs = |model: &str| -> Result<(Vec<i64>, Option<String>)> {
        let TracedRuns { runs, warning } = trace_runs(&path(model))?;
        Ok((runs.iter().filter_map(|(_, settings)| settings["seed"].as_i64()).collect(), warning))
    };
    RunFolder::create(&path("sft"), &json!({ "seed": 1, "model": "owner/name" }))?;
    RunFolder::create(&path("dpo"), &json!({ "seed": 2, "model": path("sft/model") }))?;
    fs::create_dir_all(path("sft/model"))?;
    fs::create_dir_all(path("dpo/adapter"))?;
    RunFolder::create(&path("ppo"), &json!({ "seed": 3, "model": path("dpo/adapter") }))?;
    assert_eq!(runs("ppo/model")?, (vec![3, 2, 1], None));
    assert_eq!((runs("sft")?, runs("other")?), ((vec![1], None), (vec![], None)));
    let mut before = path("sft");
    for seed in 10..40 {
        let run = path(&seed.to_string());
        RunFolder::create(&run, &json!({ "seed": seed, "model": before }))?;
        before = run;
    }
    assert_eq!(runs("39")?.0.len(), 31, "all of them, however many");
    RunFolder::create(&path("loop"), &json!({ "seed": 4, "model": path("loop") }))?;
    let (seeds, warning) = runs("loop")?;
    assert_eq!(seeds, [4], "which has an end");
    assert!(warning.expect("a warning").contains("has replaced an earlier one"));
    Ok(())
}

/// Settings have paths relative to the folder in which the run was trained, and a test runs in
/// another.
#[test]
fn a_model_of_an_earlier_run_is_searched_in_the_folders_above_the_run() -> Result<()> {
    let parent = tempfile::tempdir()?;
    let path = |name: &str| parent.path().join(name);
    let runs = |model: &str| -> Result<(usize, Option<String>)> {
        let TracedRuns { runs, warning } = trace_runs(&path(model))?;
        Ok((runs.len(), warning))
    };
    let create = |run: &str, model: &str| -> Result<()> {
        RunFolder::create(&path(run), &json!({ "model": model })).map(drop)
    };
    create("project/runs/a", "owner/name")?;
    for (run, model) in [("b", "runs/a"), ("c", "runs/a/model"), ("d", "a")] {
        create(&format!("project/runs/{run}"), model)?;
    }
    fs::create_dir(path("project/runs/a/model"))?;
    for run in ["b", "c", "d"] {
        assert_eq!(runs(&format!("project/runs/{run}"))?, (2, None), "{run}");
    }
    // The run's own model is not the one that it started from.
    create("project/runs/e", "model")?;
    fs::create_dir(path("project/runs/e/model"))?;
    for (run, missing) in [("e", "model"), ("f", "runs/missing"), ("g", "/missing/run")] {
        if run != "e" {
            create(&format!("project/runs/{run}"), missing)?;
        }
        let (n, warning) = runs(&format!("project/runs/{run}"))?;
        let warning = warning.expect("a warning");
        assert!(n == 1 && warning.starts_with(&format!("{missing}, from which")), "{warning}");
    }
    // Neither a model of the Hub nor a single file is missed.
    for (run, model) in [("h", "owner/name@main"), ("i", "owner/name:a.gguf"), ("j", "x/a.gguf")] {
        create(&format!("project/runs/{run}"), model)?;
        assert_eq!(runs(&format!("project/runs/{run}"))?, (1, None), "{model}");
    }
    create("project/runs/k", "models/a")?;
    fs::create_dir(path("project/models"))?;
    assert!(runs("project/runs/k")?.1.is_some(), "a folder that is not there any more");
    Ok(())
}

#[test]
fn data_of_an_earlier_run_are_searched_in_the_folders_above_it_too() -> Result<()> {
    let parent = tempfile::tempdir()?;
    let path = |name: &str| parent.path().join(name).to_string_lossy().into_owned();
    fs::create_dir_all(path("data"))?;
    for file in ["data/a.jsonl", "data/b.jsonl"] {
        fs::write(path(file), "")?;
    }
    let (a, b) = (path("data/a.jsonl"), path("data/b.jsonl"));
    let as_it_stands = format!("{a}=0.7, {b}=0.3");
    for (recorded, found) in [
        ("data/a.jsonl", a.clone()),
        (a.as_str(), a.clone()),
        ("data/a.jsonl=0.7,data/b.jsonl=0.3", format!("{a}=0.7,{b}=0.3")),
        ("data/a.jsonl=1,owner/name=2", format!("{a}=1,owner/name=2")),
        (as_it_stands.as_str(), as_it_stands.clone()),
        ("arithmetic", "arithmetic".to_string()),
    ] {
        let settings = json!({ "data": recorded, "eval_file": "data/b.jsonl" });
        RunFolder::create(path("runs/a").as_ref(), &settings)?;
        let runs = trace_runs(path("runs/a").as_ref())?.runs;
        assert_eq!(runs[0].1, json!({ "data": found, "eval_file": b }), "{recorded}");
    }
    Ok(())
}
