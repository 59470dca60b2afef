//! Ranks that cannot train together, which are refused before they would wait for each other, ranks
//! whose weights come to differ, their dropout, and folders of ranks that were killed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use ranks::in_threads;
use serde_json::{Value, json};
use tensor_core::{AdamWConfig, Init, Parameters, WeightDecay};

use crate::rank_folder::remove_abandoned;
use crate::rank_weights::ensure_same_weights;
use crate::settings::ensure_same_settings;
use crate::{Checkpoints, Run, RunCheckpoints, RunLog, TrainState};

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

/// Two numbers of the dropout stream of each of `n_ranks` ranks in each of these `steps`. Those
/// from step 0 on end with a checkpoint in `folder`, and later ones go on from it.
fn dropout_numbers(n_ranks: usize, steps: Range<usize>, folder: &Path) -> Result<Vec<u64>> {
    let of_ranks = in_threads(n_ranks, |ranks| {
        let mut state = state(&[3])?;
        if steps.start > 0 {
            state.restore(folder, "data")?;
        }
        state.join(&ranks)?;
        assert_eq!(state.progress.step, steps.start);
        let mut numbers = Vec::new();
        for step in steps.clone() {
            state.seed_dropout(1);
            let mut rng = state.parameters.dropout_rng().context("a stream")?;
            numbers.extend([rng.uniform().to_bits(), rng.uniform().to_bits()]);
            state.parameters.set_dropout_rng(rng);
            state.progress.step = step + 1;
        }
        if steps.start == 0 && ranks.is_first() {
            state.save(folder, "data")?;
        }
        Ok(numbers)
    });
    Ok(of_ranks.into_iter().collect::<Result<Vec<_>>>()?.concat())
}

#[test]
fn a_run_that_is_resumed_on_another_number_of_ranks_repeats_no_dropout_stream() -> Result<()> {
    for (before, after) in [(2, 4), (4, 2), (3, 2), (2, 1), (1, 2)] {
        let folder = tempfile::tempdir()?;
        let begun = dropout_numbers(before, 0..8, folder.path())?;
        let resumed = dropout_numbers(after, 8..16, folder.path())?;
        let distinct: BTreeSet<&u64> = begun.iter().chain(&resumed).collect();
        assert_eq!(distinct.len(), 2 * 8 * (before + after), "{before} ranks, then {after}");
        assert_eq!(resumed, dropout_numbers(after, 8..16, folder.path())?, "the same again");
    }
    Ok(())
}

#[test]
fn a_rank_with_another_weight_is_named_and_the_checkpoint_before_stays() -> Result<()> {
    // Of two ranks the first is in the right, of three the other two are.
    for (n_ranks, changed) in [(2, 1), (3, 0), (3, 2)] {
        let folder = tempfile::tempdir()?;
        let results = in_threads(n_ranks, |ranks| {
            let (mut state, log) = (state(&[3, 4])?, RunLog::of_losses(2)?);
            state.join(&ranks)?;
            let checkpoints = Some(RunCheckpoints::at_end(folder.path(), "data"));
            let run = Run { checkpoints, ranks: ranks.clone(), ..Run::default() };
            let save = |step: usize, state: &TrainState| {
                run.save_checkpoint(step, &[state], &log, |folder, id| state.save(folder, id))
            };
            save(1, &state)?;
            if ranks.rank() == changed {
                let var = &state.parameters.trainable().nth(1).context("two vectors")?.var;
                var.set(&(var.as_detached_tensor() * 1.001)?)?;
            }
            Ok(save(2, &state).unwrap_err().to_string())
        });
        for result in results {
            assert_eq!(
                result?,
                format!(
                    "rank {changed} has another parameter `vector_1` than the other ranks after \
                     step 2, so no checkpoint of this step was written"
                )
            );
        }
        let checkpoints = Checkpoints::new(folder.path().join("checkpoints"), NonZeroUsize::MIN);
        assert_eq!(checkpoints.latest()?.context("a checkpoint")?.0, 1);
    }
    Ok(())
}

#[test]
fn a_rank_with_another_optimizer_state_is_named() {
    let results = in_threads(2, |ranks| {
        let mut state = state(&[3])?;
        state.join(&ranks)?;
        ensure_same_weights(&state, 5).map_err(|_| anyhow::anyhow!("all have the same"))?;
        if !ranks.is_first() {
            let mut moments = state.optimizer.state_dict()?;
            let first = moments.get_mut("vector_0.first").context("a moment")?;
            *first = (&*first + 1.)?;
            state.optimizer.load_state_dict(moments)?;
        }
        ensure_same_weights(&state, 5)
    });
    for result in results {
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with("rank 1 has another optimizer state `vector_0.fi"), "{error}");
    }
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
