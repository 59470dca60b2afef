//! 6.3 in bf16: the models compute with rounded weights, the optimizer trains masters in f32.

use std::num::NonZeroUsize;

use anyhow::Result;
use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor};
use experiment::{Checkpoints, Run, RunCheckpoints, RunLog, TrainState};
use model_io::model_folder::{self, SpecialTokenIds};
use modern::{GptModern, GradientCheckpointing};
use ranks::{Ranks, in_threads};
use scaling::accumulation::GradAccumulator;
use tensor_core::testing::{
    assert_close, assert_gradients_flow, assert_gradients_near, assert_loss_in_bf16,
    assert_trained_in_f32,
};
use tensor_core::{json_file, weights};

use super::training::{examples, train_config, train_in, train_state};
use super::{CPU, config};
use crate::{SftBatch, train};

fn state_in(dtype: DType, lora: bool) -> Result<TrainState> {
    train_state(lora)?.with_compute_dtype(dtype)
}

fn trained_weights(state: &TrainState) -> Result<Vec<Vec<f32>>> {
    state.parameters.trainable().map(|p| Ok(p.var.flatten_all()?.to_vec1()?)).collect()
}

/// Loss of a batch, and its gradients.
fn loss_and_gradients(
    state: &mut TrainState,
    gradient_checkpointing: GradientCheckpointing,
) -> Result<(f64, GradStore)> {
    let model = GptModern::new(&config(16), state.parameters.root())?
        .with_gradient_checkpointing(gradient_checkpointing);
    let batch = SftBatch::padded(&examples(7), &CPU)?;
    let mut accumulator = GradAccumulator::default();
    accumulator.backward(&batch.loss(&model)?, &[&state.parameters])?;
    accumulator.finish()
}

#[test]
fn a_step_in_bf16_has_the_loss_of_f32_and_gradients_in_f32_for_all_that_is_trained() -> Result<()> {
    for lora in [false, true] {
        let off = GradientCheckpointing::Off;
        let (full, _) = loss_and_gradients(&mut state_in(DType::F32, lora)?, off)?;
        let mut state = state_in(DType::BF16, lora)?;
        let (half, grads) = loss_and_gradients(&mut state, off)?;
        assert_loss_in_bf16(half, full);
        if !lora {
            assert_gradients_flow(&state.parameters, &grads)?; // B = 0 gives A the gradient 0
        }
        assert_trained_in_f32(&state.parameters, &grads);
    }
    Ok(())
}

#[test]
fn gradient_checkpointing_in_bf16_gives_the_gradients_of_stored_activations() -> Result<()> {
    let mut state = state_in(DType::BF16, false)?;
    let (loss, stored) = loss_and_gradients(&mut state, GradientCheckpointing::Off)?;
    let (again, recomputed) = loss_and_gradients(&mut state, GradientCheckpointing::On)?;
    assert_close(again, loss, 1e-6);
    Ok(assert_gradients_near(&state.parameters, &recomputed, &stored, 0.05)?)
}

#[test]
fn steps_shorter_than_one_of_bf16_add_up_in_the_masters() -> Result<()> {
    let mut state = state_in(DType::BF16, false)?;
    let before = trained_weights(&state)?.concat();
    let mut config = train_config(3);
    (config.schedule.peak_lr, config.schedule.min_lr) = (2e-7, 2e-7);
    train_in(&mut state, &examples(8), &config, &Run::default())?;
    let after = trained_weights(&state)?.concat();
    let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
    assert!(2 * moved > before.len(), "{moved} of {}", before.len());
    assert_close(&after, &before, 1e-6);
    let rounded = |weights: &[f32]| -> Result<Vec<f32>> {
        let weights = Tensor::new(weights, &CPU)?.to_dtype(DType::BF16)?;
        Ok(weights.to_dtype(DType::F32)?.to_vec1()?)
    };
    let (before, after) = (rounded(&before)?, rounded(&after)?);
    let equal = before.iter().zip(&after).filter(|(a, b)| a == b).count();
    assert!(10 * equal > 9 * before.len(), "in bf16 nothing would have moved: {equal}");
    Ok(())
}

#[test]
fn a_model_trained_in_bf16_is_saved_in_the_f32_of_its_masters() -> Result<()> {
    let (state, folder) = (state_in(DType::BF16, false)?, tempfile::tempdir()?);
    let (path, ids) = (folder.path(), SpecialTokenIds::default());
    model_folder::save(path, &config(16), &state.parameters, &ids, None)?;
    assert_eq!(json_file::read(&path.join("config.json"))?["dtype"], "float32");
    let tensors = weights::load(&path.join("model.safetensors"))?;
    assert!(tensors.values().all(|tensor| tensor.dtype() == DType::F32));
    Ok(())
}

#[test]
fn a_run_in_bf16_resumes_bit_for_bit() -> Result<()> {
    let (examples, train_config) = (examples(19), train_config(5));
    for lora in [false, true] {
        let mut whole = state_in(DType::BF16, lora)?;
        train_in(&mut whole, &examples, &train_config, &Run::default())?;
        let folder = tempfile::tempdir()?;
        let checkpoints = Checkpoints::new(folder.path().join("checkpoints"), NonZeroUsize::MIN);
        let mut last = None;
        for stop_after in [2, 5] {
            let mut resumed = state_in(DType::BF16, lora)?;
            let model = GptModern::new(&config(16), resumed.parameters.root())?;
            if let Some((_, path)) = checkpoints.latest()? {
                resumed.restore(&path, "these")?; // after the model was built, as in the program
            }
            let run = Run {
                checkpoints: Some(RunCheckpoints::at_end(folder.path(), "these")),
                stop_after: Some(stop_after),
                ..Run::default()
            };
            let mut log = RunLog::of_losses(100)?;
            train(&model, &mut resumed, &examples, &train_config, None, &run, &mut log)?;
            last = Some(trained_weights(&resumed)?);
        }
        assert!(last == Some(trained_weights(&whole)?), "lora {lora}");
    }
    Ok(())
}

#[test]
fn ranks_in_bf16_stay_equal() -> Result<()> {
    let train_on = |ranks: Ranks| -> Result<Vec<Vec<f32>>> {
        let mut state = state_in(DType::BF16, false)?;
        train_in(&mut state, &examples(21), &train_config(4), &Run { ranks, ..Run::default() })?;
        trained_weights(&state)
    };
    let weights = in_threads(2, train_on).into_iter().collect::<Result<Vec<_>>>()?;
    assert!(weights[0] == weights[1]);
    Ok(())
}
