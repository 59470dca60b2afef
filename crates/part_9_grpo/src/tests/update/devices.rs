//! A training step on each device is that on the CPU, given what was sampled.

use anyhow::{Context, Result};
use candle_core::Tensor;
use modern::GptModern;
use tensor_core::AdamWConfig;
use tensor_core::testing::assert_same_step_on_each_device;

use super::{
    experience, gradients, inference_model, model_config, new_train_state, new_train_state_on,
    objective,
};
use crate::OverlongHandling;

#[test]
fn a_step_and_its_metrics_are_the_same_on_each_device() -> Result<()> {
    let experience = experience(&new_train_state(1)?, OverlongHandling::None)?;
    let (optimizer, objective) = (AdamWConfig { eps: 1., ..AdamWConfig::default() }, objective());
    assert_same_step_on_each_device(1e-3, |device| {
        let reference = inference_model(&new_train_state_on(device, 2, optimizer)?)?;
        let mut state = new_train_state_on(device, 1, optimizer)?;
        let policy = GptModern::new(&model_config(), state.parameters.root())?;
        let rollout_model = inference_model(&state)?;
        let parts = experience.micro_batches(&objective, &rollout_model, Some(&reference), 2)?;
        let (loss, grads, metrics) = gradients(&policy, &state.parameters, &parts, &objective)?;
        state.optimizer.step(&grads, 1.)?;
        let kl = metrics.kl_per_token.context("a KL")?;
        let output = [loss, kl, metrics.ratio_max, metrics.sampler_log_prob_diff];
        Ok((Tensor::new(&output, device)?, state.parameters))
    })
}
