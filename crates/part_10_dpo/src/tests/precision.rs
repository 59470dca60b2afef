//! 10.2 in bf16: policy and reference compute with rounded weights, masters in f32.

use std::num::NonZeroUsize;

use anyhow::{Context, Result};
use candle_core::backprop::GradStore;
use candle_core::{DType, Module, Tensor};
use experiment::{Checkpoints, Run, RunCheckpoints, RunLog, TrainState};
use modern::{GptModern, GradientCheckpointing};
use ranks::{Ranks, in_threads};
use scaling::accumulation::GradAccumulator;
use tensor_core::testing::{
    assert_close, assert_gradients_flow, assert_gradients_near, assert_loss_in_bf16,
    assert_trained_in_f32,
};
use tensor_core::{AdamWConfig, Parameters};

use super::{CPU, all_losses, config, pairs, train_config};
use crate::log_probs::completion_log_probs;
use crate::losses::DpoLoss;
use crate::metrics::{batch_log_probs, loss_totals};
use crate::preference_example::{PreferenceDataset, PreferenceExample};
use crate::ref_cache::set_ref_log_probs;
use crate::step::{DpoBatch, DpoPolicy, dpo_step};
use crate::training::train;
use crate::validator::DpoValidator;

fn policy_in(dtype: DType, seed: u64) -> Result<DpoPolicy> {
    let mut parameters = Parameters::seeded(seed, DType::F32, &CPU);
    GptModern::new(&config(), parameters.root())?;
    let state = TrainState::new(parameters, AdamWConfig::default())?;
    DpoPolicy::new(&config(), state.with_compute_dtype(dtype)?)
}

/// Pairs with log-probabilities under a reference in bf16 with the weights of `seed`.
fn pairs_with_reference(seed: u64) -> Result<Vec<PreferenceExample>> {
    let (mut examples, reference) = (pairs(), policy_in(DType::BF16, seed)?);
    set_ref_log_probs(&mut examples, &reference.models.inference, 8, &Ranks::Alone)?;
    Ok(examples)
}

fn weights(policy: &DpoPolicy) -> Result<Vec<Vec<f32>>> {
    policy.state.parameters.iter().map(|p| Ok(p.var.flatten_all()?.to_vec1()?)).collect()
}

/// Loss of `policy` on `examples`, and its gradients.
fn loss_and_gradients(
    policy: &DpoPolicy,
    examples: &[PreferenceExample],
    loss: &DpoLoss,
) -> Result<(f64, GradStore)> {
    let groups = examples.iter().map(|example| &example.group);
    let log_probs = completion_log_probs(&policy.models.training, groups)?;
    let totals = loss_totals(loss, examples, 0.3);
    let loss = loss.compute(&batch_log_probs(&log_probs, examples)?, &totals)?;
    let mut accumulator = GradAccumulator::default();
    accumulator.backward(&loss, &[&policy.state.parameters])?;
    accumulator.finish()
}

#[test]
fn every_loss_in_bf16_is_that_of_f32_with_gradients_in_f32_for_every_weight() -> Result<()> {
    let examples = pairs_with_reference(7)?;
    let (full, half) = (policy_in(DType::F32, 5)?, policy_in(DType::BF16, 5)?);
    for loss in all_losses() {
        let (full, _) = loss_and_gradients(&full, &examples, &loss)?;
        let (in_bf16, grads) = loss_and_gradients(&half, &examples, &loss)?;
        println!("{loss:?}");
        assert_loss_in_bf16(in_bf16, full);
        assert_gradients_flow(&half.state.parameters, &grads)?;
        assert_trained_in_f32(&half.state.parameters, &grads);
    }
    Ok(())
}

#[test]
fn a_policy_in_bf16_that_equals_its_reference_has_loss_ln_2() -> Result<()> {
    let examples = pairs_with_reference(5)?;
    let loss = DpoLoss::sigmoid(0.5);
    let (loss, _) = loss_and_gradients(&policy_in(DType::BF16, 5)?, &examples, &loss)?;
    assert_close(loss, 2f64.ln(), 1e-2);
    Ok(())
}

#[test]
fn gradient_checkpointing_in_bf16_gives_the_gradients_of_stored_activations() -> Result<()> {
    let (examples, loss) = (pairs_with_reference(7)?, DpoLoss::sigmoid(0.5));
    let policy = policy_in(DType::BF16, 5)?;
    let (value, stored) = loss_and_gradients(&policy, &examples, &loss)?;
    let policy = policy.with_gradient_checkpointing(GradientCheckpointing::On);
    let (again, recomputed) = loss_and_gradients(&policy, &examples, &loss)?;
    assert_close(again, value, 1e-6);
    Ok(assert_gradients_near(&policy.state.parameters, &recomputed, &stored, 0.15)?)
}

#[test]
fn the_inference_model_gets_new_weights_when_it_is_used_not_after_every_step() -> Result<()> {
    let mut policy = policy_in(DType::F16, 5)?; // with copies of the weights
    let ids = Tensor::new(&[[1u32, 2, 3]], &CPU)?;
    let logits = |model: &GptModern| model.forward(&ids)?.to_dtype(DType::F32);
    let before = logits(&policy.models.inference)?;
    let batch = DpoBatch { micro_batches: vec![pairs_with_reference(7)?], mismatched: Vec::new() };
    let config = train_config(DpoLoss::sigmoid(0.5), 1e-2, 2);
    dpo_step(&mut policy, &batch, &config, &mut RunLog::of_losses(2)?)?;
    let view = &mut policy.state.parameters.for_inference();
    let new = logits(&GptModern::new(policy.models.training.config(), view.root())?)?;
    assert_close(logits(&policy.models.training)?, &new, 0.);
    assert_close(logits(&policy.models.inference)?, &before, 0.);
    // The KL baseline of KTO uses it, with the weights from before the step.
    let of_kto = DpoBatch { mismatched: pairs_with_reference(7)?, ..batch };
    dpo_step(&mut policy, &of_kto, &config, &mut RunLog::of_losses(2)?)?;
    assert_close(logits(&policy.models.inference)?, &new, 0.);
    policy.models.refresh_inference(&policy.state.parameters)?;
    assert_close(logits(&policy.models.inference)?, logits(&policy.models.training)?, 0.);
    assert!((new - before)?.abs()?.max_all()?.to_scalar::<f32>()? > 1e-2);
    Ok(())
}

/// Trains `policy` on the pairs in the run `run`.
fn train_in(policy: &mut DpoPolicy, run: &Run) -> Result<()> {
    let data = PreferenceDataset { examples: pairs_with_reference(7)?, mismatched: Vec::new() };
    let loss = DpoLoss::sigmoid(0.5);
    let validator = DpoValidator {
        data: &data,
        loss,
        batch_size: 4,
        interval: 0,
        target_accuracy: None,
        model_saver: None,
    };
    let config = train_config(loss, 1e-3, 6);
    train(policy, &data, &config, &validator, run, &mut RunLog::of_losses(6)?)
}

#[test]
fn a_run_in_bf16_resumes_bit_for_bit() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let checkpoints = || Checkpoints::new(folder.path().into(), NonZeroUsize::MIN);
    let until = |stop_after| {
        let checkpoints = Some(RunCheckpoints::new(checkpoints(), 0, "data"));
        Run { checkpoints, stop_after, ..Run::default() }
    };
    train_in(&mut policy_in(DType::BF16, 5)?, &until(Some(3)))?;
    let mut resumed = policy_in(DType::BF16, 9)?; // other weights, which the checkpoint replaces
    let (step, checkpoint) = checkpoints().latest()?.context("a checkpoint")?;
    assert_eq!(step, 3);
    resumed.state.restore(&checkpoint, "data")?;
    train_in(&mut resumed, &until(None))?;
    let mut whole = policy_in(DType::BF16, 5)?;
    train_in(&mut whole, &Run::default())?;
    assert!(weights(&whole)? == weights(&resumed)?);
    Ok(())
}

#[test]
fn ranks_in_bf16_stay_equal() -> Result<()> {
    let train_on = |ranks: Ranks| -> Result<Vec<Vec<f32>>> {
        let mut policy = policy_in(DType::BF16, 5)?;
        train_in(&mut policy, &Run { ranks, ..Run::default() })?;
        weights(&policy)
    };
    let weights = in_threads(2, train_on).into_iter().collect::<Result<Vec<_>>>()?;
    assert!(weights[0] == weights[1]);
    Ok(())
}
