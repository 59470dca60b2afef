//! Data-parallel training: the result does not depend on the number of ranks.

use anyhow::Result;
use candle_core::{DType, Device};
use datasets::Dataset;
use experiment::{Run, RunLog};
use model_io::ModelConfig;
use ranks::{Ranks, in_threads};
use tensor_core::testing::assert_close;
use tiny_gpt::Sampling;

use super::training::{CONFIG, dataset};
use crate::evaluation::{LmEvalConfig, ValidationConfig};
use crate::{LrSchedule, PretrainState, TrainConfig, train};

const STEPS: usize = 20;

fn config(batch_size: usize, dropout: f64) -> TrainConfig {
    let schedule = LrSchedule { total_steps: STEPS, ..CONFIG.schedule };
    TrainConfig { batch_size, schedule, dtype: DType::F32, dropout, ..CONFIG }
}

/// Trains a new model on `data` and returns its validation loss and its weights.
fn train_on(ranks: &Ranks, data: &Dataset, config: &TrainConfig) -> Result<(f64, Vec<Vec<f32>>)> {
    // The seed of the others differs: they get the weights of the first.
    let seed = ranks.rank() as u64;
    let model = ModelConfig {
        vocab_size: data.tokenizer.vocab_size(),
        ..ModelConfig::byte_level(8, 1, 2, 8)
    };
    let mut state = PretrainState::new(model, config.optimizer, DType::F32, seed, &Device::Cpu)?;
    let validation = ValidationConfig {
        eval_interval: 10,
        eval_config: LmEvalConfig { batch_size: 4, max_windows: None, window_len: None },
        sample_interval: 0,
        sampling: Sampling::Greedy,
        sample_len: 1,
    };
    let run = Run { ranks: ranks.clone(), ..Run::default() };
    let folder = tempfile::tempdir()?;
    let mut log = RunLog::of_losses(STEPS)?;
    train(&mut state, data, config, &validation, folder.path(), &run, &mut log)?;
    let best = state.train.progress.selection.best.expect("validated").score.value();
    let weights = state.train.parameters.iter();
    let weights = weights.map(|p| p.var.as_tensor().flatten_all()?.to_vec1());
    Ok((best, weights.collect::<candle_core::Result<_>>()?))
}

/// Results of all ranks, which are the same.
fn train_on_ranks(n: usize, data: &Dataset, config: &TrainConfig) -> Result<(f64, Vec<Vec<f32>>)> {
    let results = in_threads(n, |ranks| train_on(&ranks, data, config));
    let mut results = results.into_iter().collect::<Result<Vec<_>>>()?;
    let last = results.pop().expect("a rank");
    assert!(results.iter().all(|other| *other == last), "the ranks stay equal, bit for bit");
    Ok(last)
}

#[test]
fn two_and_four_ranks_train_the_model_of_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = dataset(folder.path())?;
    // 5 rows are cut unevenly, and of 2 rows, two of four ranks have none.
    for batch_size in [8, 5, 2] {
        let config = config(batch_size, 0.);
        let (loss, weights) = train_on(&Ranks::Alone, &data, &config)?;
        for n_ranks in [2, 4] {
            let (ranks_loss, ranks_weights) = train_on_ranks(n_ranks, &data, &config)?;
            assert_close(ranks_loss, loss, 1e-6);
            for (a, b) in ranks_weights.iter().zip(&weights) {
                assert_close(&a[..], &b[..], 1e-5);
            }
        }
    }
    Ok(())
}

#[test]
fn ranks_repeat_a_run_bit_for_bit_with_dropout_of_their_own() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = dataset(folder.path())?;
    let config = config(4, 0.2);
    let first = train_on_ranks(2, &data, &config)?;
    assert!(first == train_on_ranks(2, &data, &config)?);
    assert!(first != train_on(&Ranks::Alone, &data, &config)?, "other masks than on one rank");
    Ok(())
}
