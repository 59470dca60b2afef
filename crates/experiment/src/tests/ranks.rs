//! Ranks that cannot train together, which are refused before they would wait for each other, and
//! folders of ranks that were killed.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use candle_core::{DType, Device};
use ranks::in_threads;
use serde_json::{Value, json};
use tensor_core::{AdamWConfig, Init, Parameters, WeightDecay};

use crate::TrainState;
use crate::rank_folder::remove_abandoned;
use crate::settings::ensure_same_settings;

/// State of a model with a vector of each of these `lengths`.
fn state(lengths: &[usize]) -> Result<TrainState> {
    let mut parameters = Parameters::seeded(1, DType::F32, &Device::Cpu);
    for (i, &len) in lengths.iter().enumerate() {
        let name = format!("vector_{i}");
        parameters.root().parameter(&name, len, Init::Normal { std: 1. }, WeightDecay::Yes)?;
    }
    TrainState::new(parameters, AdamWConfig::default())
}

#[test]
fn a_rank_with_a_model_of_another_shape_is_refused_by_all() {
    // One tensor more or less than the first, or a longer one
    for lengths in [&[3, 4, 5][..], &[3], &[3, 5]] {
        let results = in_threads(2, |ranks| {
            let lengths = if ranks.is_first() { &[3, 4][..] } else { lengths };
            state(lengths)?.join(&ranks)
        });
        for result in results {
            let error = result.unwrap_err().to_string();
            assert_eq!(error, "rank 1 has another model than the first", "{lengths:?}");
        }
    }
    let joined = in_threads(2, |ranks| state(&[3, 4])?.join(&ranks));
    assert!(joined.into_iter().all(|result| result.is_ok()));
}

#[test]
fn a_setting_that_is_not_that_of_the_first_rank_is_named() {
    let on_two_ranks = |of_other: Value| {
        let first = json!({ "out": "a", "threads": 1, "steps": 20, "lr": 1e-3, "optim": null });
        in_threads(2, |ranks| {
            ensure_same_settings(&ranks, if ranks.is_first() { &first } else { &of_other })
        })
    };
    let same = json!({ "out": "b", "threads": 2, "steps": 20, "lr": 0.001, "optim": null });
    assert!(on_two_ranks(same).into_iter().all(|result| result.is_ok()));
    let other = json!({ "out": "b", "threads": 2, "steps": 10, "lr": 0.001, "optim": null });
    for result in on_two_ranks(other) {
        let error = result.unwrap_err().to_string();
        assert_eq!(error, "rank 1 has the setting steps 10, and the first has 20");
    }
}

#[test]
fn the_folders_of_killed_ranks_are_removed_and_no_others() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let folder = |name: &str| temp.path().join(name);
    let hour = Duration::from_secs(3600);
    let new_folder = |name: &str, age: Duration| -> Result<File> {
        fs::create_dir_all(folder(name).join("run"))?;
        let lock = File::create(folder(name).join("lock"))?;
        lock.set_modified(SystemTime::now() - age)?;
        Ok(lock)
    };
    let running = new_folder("llm-from-scratch-rank-running", hour)?;
    running.try_lock()?;
    drop(new_folder("llm-from-scratch-rank-killed", hour)?);
    drop(new_folder("llm-from-scratch-rank-new", Duration::ZERO)?);
    drop(new_folder("rank-of-another-program", hour)?);
    remove_abandoned(temp.path());
    assert!(!folder("llm-from-scratch-rank-killed").exists());
    for name in ["running", "new"] {
        assert!(folder(&format!("llm-from-scratch-rank-{name}")).exists(), "{name}");
    }
    assert!(folder("rank-of-another-program").exists());
    drop(running);
    remove_abandoned(temp.path());
    assert!(!folder("llm-from-scratch-rank-running").exists());
    Ok(())
}
