//! A training step on each device is that on the CPU.

use anyhow::Result;
use candle_core::{DType, Module};
use experiment::RunLog;
use model_io::ModelConfig;
use tensor_core::testing::assert_same_step_on_each_device;
use tensor_core::{AdamWConfig, OptimizerConfig};
use tiny_gpt::Batch;

use super::precision::batches;
use super::training::CONFIG;
use crate::step::pretrain_step;
use crate::{LoaderState, LrSchedule, PretrainState, TrainConfig};

#[test]
fn a_step_of_two_micro_batches_is_the_same_on_each_device() -> Result<()> {
    let optimizer = OptimizerConfig::from(AdamWConfig { eps: 1., ..CONFIG.optimizer.adamw() });
    let schedule = LrSchedule { peak_lr: 1., min_lr: 1., warmup_steps: 0, ..CONFIG.schedule };
    for (dtype, tol) in [(DType::F32, 1e-4), (DType::BF16, 1e-2)] {
        let config = TrainConfig { optimizer, schedule, dtype, ..CONFIG };
        assert_same_step_on_each_device(tol, |device| {
            let model = ModelConfig::byte_level(16, 2, 2, 16);
            let mut state = PretrainState::new(model, optimizer, dtype, 0, device)?;
            let on_device = |batch: &Batch| -> Result<Batch> {
                let Batch { inputs, targets } = batch;
                Ok(Batch { inputs: inputs.to_device(device)?, targets: targets.to_device(device)? })
            };
            let batches = batches(4)?.iter().map(on_device).collect::<Result<Vec<_>>>()?;
            let logits = state.model_in_compute_dtype(&config)?.forward(&batches[0].inputs)?;
            let (next, mut log) = (LoaderState::default(), RunLog::of_losses(1)?);
            pretrain_step(&mut state, &batches, next, &config, &mut log)?;
            Ok((logits, state.train.parameters))
        })?;
    }
    Ok(())
}
