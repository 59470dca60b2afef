//! A training step on each device is that on the CPU.

use anyhow::Result;
use candle_core::DType;
use experiment::{RunLog, TrainState};
use ranks::Ranks;
use tensor_core::testing::assert_same_step_on_each_device;
use tensor_core::{AdamWConfig, OptimizerConfig};

use super::{all_losses, config, pairs, parameters_on, policy, train_config};
use crate::log_probs::completion_log_probs;
use crate::ref_cache::set_ref_log_probs;
use crate::step::{DpoBatch, DpoPolicy, TrainConfig, dpo_step};

#[test]
fn a_step_with_every_loss_is_the_same_on_each_device() -> Result<()> {
    let mut examples = pairs();
    set_ref_log_probs(&mut examples, &policy(7)?.models.inference, 8, &Ranks::Alone)?;
    let micro_batches: Vec<_> = examples.chunks(2).map(<[_]>::to_vec).collect();
    let batch = DpoBatch { micro_batches, mismatched: Vec::new() };
    let optimizer =
        OptimizerConfig::from(AdamWConfig { eps: 1., weight_decay: 0., ..AdamWConfig::default() });
    for loss in all_losses() {
        let run_config = TrainConfig { optimizer, ..train_config(loss, 0.1, 1) };
        assert_same_step_on_each_device(1e-5, |device| {
            let state = TrainState::new(parameters_on(device, DType::F64, 5)?, optimizer)?;
            let mut policy = DpoPolicy::new(&config(), state)?;
            let groups = examples.iter().map(|example| &example.group);
            let log_probs = completion_log_probs(&policy.models.inference, groups)?;
            dpo_step(&mut policy, &batch, &run_config, &mut RunLog::of_losses(1)?)?;
            Ok((log_probs, policy.state.parameters))
        })?;
    }
    Ok(())
}
