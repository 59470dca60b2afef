//! Reference model: fixed, synchronized or mixed, and its log-probabilities in the KL term.

use anyhow::Result;
use candle_core::{Module, Tensor};
use experiment::TrainState;
use modern::GptModern;
use ppo::AllowedTokens;
use tensor_core::testing::assert_close;

use super::{
    CPU, experience, gradients, inference_model, model_config, new_train_state, objective,
};
use crate::{
    GrpoExperience, MicroBatch, Objective, OverlongHandling, ReferenceModel, ReferenceUpdate,
};

#[test]
fn a_reference_stays_fixed_or_is_synchronized_when_due() -> Result<()> {
    let train_state = new_train_state(1)?;
    let ids = Tensor::new(&[[1u32, 2, 3]], &CPU)?;
    let new_reference =
        |update| ReferenceModel::new(&model_config(), &train_state.parameters, update);
    let fixed = new_reference(ReferenceUpdate::Fixed)?;
    let synced = new_reference(ReferenceUpdate::SyncEvery(2))?;
    let before = fixed.model.forward(&ids)?;
    for step in 1..=2 {
        for parameter in train_state.parameters.iter() {
            parameter.var.set(&(parameter.var.as_detached_tensor() * 1.1)?)?;
        }
        fixed.sync_if_due(step, &train_state.parameters)?;
        synced.sync_if_due(step, &train_state.parameters)?;
        assert_close(&fixed.model.forward(&ids)?, &before, 0.);
        let expected = if step == 1 {
            before.clone()
        } else {
            inference_model(&train_state)?.forward(&ids)?
        };
        assert_close(&synced.model.forward(&ids)?, &expected, 1e-6);
    }
    Ok(())
}

#[test]
fn a_mixed_reference_moves_by_alpha_towards_the_policy() -> Result<()> {
    let scaled = |factor: f64| -> Result<TrainState> {
        let train_state = new_train_state(1)?;
        for parameter in train_state.parameters.iter() {
            parameter.var.set(&(parameter.var.as_detached_tensor() * factor)?)?;
        }
        Ok(train_state)
    };
    let update = ReferenceUpdate::MixEvery { interval: 2, alpha: 0.25 };
    let reference = ReferenceModel::new(&model_config(), &scaled(1.)?.parameters, update)?;
    let policy = scaled(2.)?;
    let ids = Tensor::new(&[[1u32, 2, 3]], &CPU)?;
    // ¼ · 2 + ¾ · 1 = 1.25 and ¼ · 2 + ¾ · 1.25 = 1.4375
    for (step, factor) in [(1, 1.), (2, 1.25), (3, 1.25), (4, 1.4375)] {
        reference.sync_if_due(step, &policy.parameters)?;
        let expected = inference_model(&scaled(factor)?)?.forward(&ids)?;
        assert_close(&reference.model.forward(&ids)?, &expected, 1e-3);
    }
    Ok(())
}

#[test]
fn kl_is_computed_at_the_sampling_temperature() -> Result<()> {
    let mut train_state = new_train_state(1)?;
    let (experience, objective) = (experience(&train_state, OverlongHandling::None)?, objective());
    let inference_policy = inference_model(&train_state)?;
    let policy = GptModern::new(&model_config(), train_state.parameters.root())?;
    let kl_per_token = |reference: Option<&GptModern>| -> Result<Option<f64>> {
        let without = Objective { kl: objective.kl.filter(|_| reference.is_some()), ..objective };
        let parts = experience.micro_batches(&without, &inference_policy, reference, 8)?;
        Ok(gradients(&policy, &train_state.parameters, &parts, &without)?.2.kl_per_token)
    };
    let kl = kl_per_token(Some(&inference_policy))?;
    assert!(kl.is_some_and(|kl| kl.abs() < 1e-6), "the reference is the policy: {kl:?}");
    assert_eq!(kl_per_token(None)?, None, "not measured, so not 0");
    Ok(())
}

/// A policy that has collapsed: its nucleus holds one token at each position.
#[test]
fn the_reference_is_not_restricted_to_the_nucleus_of_the_policy() -> Result<()> {
    let train_state = new_train_state(1)?;
    let model = inference_model(&train_state)?;
    let one_batch = |experience: &GrpoExperience| -> Result<MicroBatch> {
        Ok(experience.micro_batches(&objective(), &model, Some(&model), 8)?.remove(0))
    };
    let mut experience = experience(&train_state, OverlongHandling::None)?;
    let all = one_batch(&experience)?;
    for completion in experience.groups.iter_mut().flat_map(|group| &mut group.completions) {
        let tokens = completion.tokens.iter();
        completion.allowed_tokens = tokens.map(|&token| AllowedTokens::Only(vec![token])).collect();
    }
    let nucleus = one_batch(&experience)?;
    let log_probs = ppo::log_probs::log_probs(&model, &nucleus.batch, 0.9)?;
    assert_close(&log_probs, &log_probs.zeros_like()?, 1e-6); // probability 1
    let [expected, found] =
        [all, nucleus].map(|part| part.inputs.ref_log_probs.expect("a reference"));
    assert_close(&found, &expected, 1e-6);
    assert!(expected.sum_all()?.to_scalar::<f32>()? < -5., "{expected}");
    Ok(())
}
