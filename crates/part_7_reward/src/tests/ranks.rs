//! Data-parallel training: the result does not depend on the number of ranks.

use anyhow::Result;
use experiment::Run;
use ranks::{Ranks, in_threads};
use tensor_core::testing::assert_close;

use super::training::{pairs, train_config, train_in, train_state, validator, weights};
use crate::{RewardArchitecture, RewardValidator, TrainConfig};

/// Weights after training on `ranks`: micro-batches of 5 pairs are cut unevenly, and of 2 pairs,
/// two of four ranks have none.
fn train_on(ranks: &Ranks, batch_size: usize, lora: bool) -> Result<Vec<Vec<f32>>> {
    let pairs = pairs()?;
    let (train_pairs, validation_pairs) = pairs.split_at(21);
    let validator =
        RewardValidator { interval: 0, target_accuracy: None, ..validator(validation_pairs) };
    let mut config = TrainConfig { batch_size, ..train_config(20) };
    // AdamW turns the rounding of a gradient near 0 into a share of the learning rate.
    (config.schedule.peak_lr, config.schedule.min_lr) = (1e-3, 1e-3);
    let run = Run { ranks: ranks.clone(), ..Run::default() };
    let architecture = RewardArchitecture::CausalLastToken;
    let mut state = train_state(architecture, lora)?;
    train_in(&mut state, architecture, train_pairs, &config, &validator, &run)?;
    weights(&state)
}

#[test]
fn two_and_four_ranks_train_the_model_of_one() -> Result<()> {
    for batch_size in [5, 2] {
        let alone = train_on(&Ranks::Alone, batch_size, false)?;
        for n_ranks in [2, 4] {
            for weights in in_threads(n_ranks, |ranks| train_on(&ranks, batch_size, false)) {
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
    let run = || -> Result<Vec<Vec<Vec<f32>>>> {
        in_threads(2, |ranks| train_on(&ranks, 4, true)).into_iter().collect()
    };
    let ranks = run()?;
    assert!(ranks[0] == ranks[1] && ranks == run()?, "their dropout has streams of its own");
    Ok(())
}
