//! 7.3 in bf16: the backbone computes with rounded weights; masters and the reward head are f32.

use std::num::NonZeroUsize;

use anyhow::{Context, Result};
use candle_core::DType;
use candle_core::backprop::GradStore;
use experiment::{Checkpoints, Run, RunCheckpoints, RunLog, TrainState};
use modern::GradientCheckpointing;
use ranks::{Ranks, in_threads};
use scaling::accumulation::GradAccumulator;
use tensor_core::testing::{
    assert_close, assert_gradients_flow, assert_gradients_near, assert_loss_in_bf16,
    assert_trained_in_f32,
};

use super::training::{backbone, pairs, train_config, train_in, train_state, validator};
use super::{BOTH, CPU};
use crate::checkpoint::right_pad;
use crate::model_folder::HEAD_WEIGHT;
use crate::{PairBatch, RewardArchitecture, RewardModel, RewardValidator, initialization, train};

const CAUSAL: RewardArchitecture = RewardArchitecture::CausalLastToken;

fn state_in(dtype: DType, architecture: RewardArchitecture, lora: bool) -> Result<TrainState> {
    train_state(architecture, lora)?.with_compute_dtype(dtype)
}

fn trained_weights(state: &TrainState) -> Result<Vec<Vec<f32>>> {
    state.parameters.trainable().map(|p| Ok(p.var.flatten_all()?.to_vec1()?)).collect()
}

/// Loss of all pairs, and its gradients.
fn loss_and_gradients(
    state: &mut TrainState,
    architecture: RewardArchitecture,
    gradient_checkpointing: GradientCheckpointing,
) -> Result<(f64, GradStore)> {
    let dropout = state.parameters.root().dropout(0.);
    let model = RewardModel::new(&backbone()?, architecture, &mut state.parameters)?
        .for_training(dropout, gradient_checkpointing);
    let pairs = pairs()?;
    let batch = PairBatch::from_pairs(&pairs.iter().collect::<Vec<_>>(), &CPU)?;
    let [chosen, rejected] = batch.rewards(&model)?;
    let mut accumulator = GradAccumulator::default();
    let loss = train_config(1).loss.compute(&chosen, &rejected)?;
    accumulator.backward(&loss, &[&state.parameters])?;
    accumulator.finish()
}

#[test]
fn a_step_in_bf16_has_the_loss_of_f32_and_gradients_in_f32_for_all_that_is_trained() -> Result<()> {
    let off = GradientCheckpointing::Off;
    for (architecture, lora) in [(BOTH[0], false), (BOTH[0], true), (BOTH[1], false)] {
        let mut state = state_in(DType::F32, architecture, lora)?;
        let (full, _) = loss_and_gradients(&mut state, architecture, off)?;
        let mut state = state_in(DType::BF16, architecture, lora)?;
        let (half, grads) = loss_and_gradients(&mut state, architecture, off)?;
        assert_loss_in_bf16(half, full);
        if !lora {
            assert_gradients_flow(&state.parameters, &grads)?; // B = 0 gives A the gradient 0
        }
        assert_trained_in_f32(&state.parameters, &grads);
    }
    Ok(())
}

#[test]
fn the_reward_head_of_a_model_in_bf16_computes_in_f32() -> Result<()> {
    let mut state = state_in(DType::BF16, CAUSAL, false)?;
    let model = RewardModel::new(&backbone()?, CAUSAL, &mut state.parameters)?;
    let pairs = pairs()?;
    let (ids, lengths) = right_pad(&[&pairs[0].chosen[..]], &CPU)?;
    let hidden = model.backbone().hidden_states(&ids)?; // (1, T, C)
    assert_eq!(state.parameters.compute_dtype(), DType::BF16);
    let last = hidden.narrow(1, lengths[0] - 1, 1)?.flatten(0, 1)?.to_dtype(DType::F32)?; // (1, C)
    let head = state.parameters.get(HEAD_WEIGHT).context("a head")?.var.as_detached_tensor();
    let expected = last.matmul(&head.t()?)?.flatten_all()?; // (1)
    assert_close(model.rewards(&ids, &lengths)?, expected, 1e-6);
    Ok(())
}

#[test]
fn gradient_checkpointing_in_bf16_gives_the_gradients_of_stored_activations() -> Result<()> {
    let mut state = state_in(DType::BF16, CAUSAL, false)?;
    let (loss, stored) = loss_and_gradients(&mut state, CAUSAL, GradientCheckpointing::Off)?;
    let (again, recomputed) = loss_and_gradients(&mut state, CAUSAL, GradientCheckpointing::On)?;
    assert_close(again, loss, 1e-6);
    Ok(assert_gradients_near(&state.parameters, &recomputed, &stored, 0.15)?)
}

#[test]
fn a_model_with_adapters_in_bf16_is_saved_in_the_f32_of_its_adapters() -> Result<()> {
    let state = state_in(DType::BF16, CAUSAL, true)?;
    let merged = initialization::merged_weights(&state.parameters, &backbone()?, CAUSAL)?;
    assert_eq!(merged.stored_dtype(), DType::F32);
    assert!(merged.iter().all(|parameter| parameter.var.dtype() == DType::F32));
    Ok(())
}

#[test]
fn a_run_in_bf16_resumes_bit_for_bit() -> Result<()> {
    let (pairs, train_config) = (pairs()?, train_config(5));
    let validator = RewardValidator { interval: 0, target_accuracy: None, ..validator(&pairs) };
    for lora in [false, true] {
        let mut whole = state_in(DType::BF16, CAUSAL, lora)?;
        train_in(&mut whole, CAUSAL, &pairs, &train_config, &validator, &Run::default())?;
        let folder = tempfile::tempdir()?;
        let checkpoints = Checkpoints::new(folder.path().join("checkpoints"), NonZeroUsize::MIN);
        let mut last = None;
        for stop_after in [2, 5] {
            let mut resumed = state_in(DType::BF16, CAUSAL, lora)?;
            let model = RewardModel::new(&backbone()?, CAUSAL, &mut resumed.parameters)?;
            if let Some((_, path)) = checkpoints.latest()? {
                resumed.restore(&path, "these")?; // after the model was built, as in the program
            }
            let run = Run {
                checkpoints: Some(RunCheckpoints::at_end(folder.path(), "these")),
                stop_after: Some(stop_after),
                ..Run::default()
            };
            let mut log = RunLog::of_losses(100)?;
            train(&model, &mut resumed, &pairs, &train_config, &validator, &run, &mut log)?;
            last = Some(trained_weights(&resumed)?);
        }
        assert!(last == Some(trained_weights(&whole)?), "lora {lora}");
    }
    Ok(())
}

#[test]
fn ranks_in_bf16_stay_equal() -> Result<()> {
    let train_on = |ranks: Ranks| -> Result<Vec<Vec<f32>>> {
        let (pairs, mut state) = (pairs()?, state_in(DType::BF16, CAUSAL, false)?);
        let validator = RewardValidator { interval: 0, target_accuracy: None, ..validator(&pairs) };
        let run = Run { ranks, ..Run::default() };
        train_in(&mut state, CAUSAL, &pairs, &train_config(4), &validator, &run)?;
        trained_weights(&state)
    };
    let weights = in_threads(2, train_on).into_iter().collect::<Result<Vec<_>>>()?;
    assert!(weights[0] == weights[1]);
    Ok(())
}
