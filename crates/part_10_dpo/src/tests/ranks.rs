//! Data-parallel DPO: the result does not depend on the number of ranks.

use anyhow::{Context, Result};
use experiment::{Run, RunLog};
use ranks::{Ranks, in_threads};
use tensor_core::testing::assert_close;

use super::{all_losses, pairs, policy, train_config};
use crate::losses::DpoLoss;
use crate::preference_example::{PreferenceDataset, mismatched};
use crate::ref_cache::set_ref_log_probs;
use crate::step::{TrainConfig, in_order_of_examples, kl_baseline};
use crate::training::train;
use crate::validator::{DpoValidator, evaluate};

/// Weights and loss after training on `ranks`. Micro-batches of 3 pairs are cut unevenly, and one
/// of four ranks has none of them.
fn train_on(ranks: &Ranks, loss: DpoLoss) -> Result<(Vec<Vec<f32>>, f64)> {
    let mut examples = pairs();
    let mut mismatched = mismatched(&examples, 24).context("other prompts")?;
    let reference = policy(7)?;
    for examples in [&mut examples, &mut mismatched] {
        set_ref_log_probs(examples, &reference.models.inference, 8, &Ranks::Alone)?;
    }
    let data = PreferenceDataset { examples, mismatched };
    let config = TrainConfig { batch_size: 3, grad_accum_steps: 2, ..train_config(loss, 2e-4, 8) };
    let validator = DpoValidator {
        data: &data,
        loss,
        batch_size: 4,
        interval: 0,
        target_accuracy: None,
        model_saver: None,
    };
    let run = Run { ranks: ranks.clone(), ..Run::default() };
    let mut policy = policy(5)?;
    train(&mut policy, &data, &config, &validator, &run, &mut RunLog::of_losses(8)?)?;
    let parameters = policy.state.parameters.iter();
    let weights = parameters.map(|p| Ok(p.var.flatten_all()?.to_vec1::<f32>()?));
    let loss = evaluate(&policy.models.inference, &data, &loss, 8)?.loss;
    Ok((weights.collect::<Result<_>>()?, loss))
}

#[test]
fn two_and_four_ranks_train_the_policy_of_one_with_every_loss() -> Result<()> {
    for loss in all_losses() {
        let (alone, loss_alone) = train_on(&Ranks::Alone, loss)?;
        for n_ranks in [2, 4] {
            for result in in_threads(n_ranks, |ranks| train_on(&ranks, loss)) {
                let (weights, loss_of_rank) = result?;
                // Sums of up to 30 nats, of weights that differ by the rounding of AdamW's steps.
                assert_close(loss_of_rank, loss_alone, 1e-4);
                for (a, b) in weights.iter().zip(&alone) {
                    assert_close(&a[..], &b[..], 1e-5);
                }
            }
        }
    }
    Ok(())
}

/// All ranks have some of the first micro-batch, and the first alone that of the second.
#[test]
fn log_probs_of_all_ranks_are_in_the_order_of_the_examples() {
    let of_ranks = [vec![vec![1., 2.], vec![5.]], vec![vec![3., 4.], vec![]]];
    assert_eq!(in_order_of_examples(&of_ranks), [1., 2., 3., 4., 5.]);
    assert!(in_order_of_examples(&[]).is_empty());
}

/// The log-ratio has a mean above 0 in one of its two directions.
#[test]
fn the_baseline_of_kto_is_the_mean_over_the_completions_of_all_ranks() -> Result<()> {
    let baseline_on = |ranks: &Ranks, [seed, seed_of_reference]: [u64; 2]| -> Result<f64> {
        let mut mismatched = mismatched(&pairs(), 24).context("other prompts")?;
        let reference = policy(seed_of_reference)?.models.inference;
        set_ref_log_probs(&mut mismatched, &reference, 8, &Ranks::Alone)?;
        kl_baseline(&policy(seed)?.models.inference, &mismatched, 2, ranks)
    };
    let mut largest = 0f64;
    for seeds in [[5, 7], [7, 5]] {
        let alone = baseline_on(&Ranks::Alone, seeds)?;
        largest = largest.max(alone);
        for n_ranks in [2, 4] {
            for of_rank in in_threads(n_ranks, |ranks| baseline_on(&ranks, seeds)) {
                assert_close(of_rank?, alone, 1e-5);
            }
        }
    }
    assert!(largest > 1e-3, "{largest}");
    Ok(())
}
