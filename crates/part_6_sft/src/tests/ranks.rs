//! Data-parallel fine-tuning: the result does not depend on the number of ranks.

use anyhow::Result;
use experiment::{Run, TrainState};
use ranks::{Ranks, in_threads};
use tensor_core::testing::assert_close;

use super::training::{examples, train_config, train_in, train_state};
use crate::{BatchLayout, TrainConfig};

/// Trained weights of a fine-tuned model, all of it or its `adapters` without dropout.
fn train_on(ranks: &Ranks, adapters: bool, config: &TrainConfig) -> Result<Vec<Vec<f32>>> {
    let mut state: TrainState = train_state(adapters)?;
    let run = Run { ranks: ranks.clone(), ..Run::default() };
    train_in(&mut state, &examples(21), config, &run)?;
    let trained = state.parameters.trainable();
    Ok(trained.map(|p| p.var.flatten_all()?.to_vec1()).collect::<candle_core::Result<_>>()?)
}

#[test]
fn two_and_four_ranks_train_the_model_of_one() -> Result<()> {
    // Rows, packed rows, and micro-batches of 2, of which two of four ranks have nothing.
    let packed = BatchLayout::Packed(16);
    for (batch_size, batch_layout) in [(8, BatchLayout::Padded), (5, packed), (2, packed)] {
        let mut config = TrainConfig { batch_size, batch_layout, ..train_config(20) };
        // AdamW turns the rounding of a gradient near 0 into a share of the learning rate.
        (config.schedule.peak_lr, config.schedule.min_lr) = (1e-3, 1e-3);
        let alone = train_on(&Ranks::Alone, false, &config)?;
        for n_ranks in [2, 4] {
            for weights in in_threads(n_ranks, |ranks| train_on(&ranks, false, &config)) {
                for (a, b) in weights?.iter().zip(&alone) {
                    assert_close(&a[..], &b[..], 1e-5);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn ranks_with_adapters_stay_equal_and_repeat_a_run_bit_for_bit() -> Result<()> {
    let config = train_config(6);
    let run = || -> Result<Vec<Vec<Vec<f32>>>> {
        in_threads(2, |ranks| train_on(&ranks, true, &config)).into_iter().collect()
    };
    let ranks = run()?;
    assert!(ranks[0] == ranks[1] && ranks == run()?, "their dropout has streams of its own");
    Ok(())
}
