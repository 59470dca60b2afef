//! A training step on each device is that on the CPU.

use anyhow::Result;
use candle_core::{DType, Module};
use experiment::{RunLog, TrainState};
use modern::GptModern;
use scaling::LrSchedule;
use tensor_core::testing::assert_same_step_on_each_device;
use tensor_core::{AdamWConfig, OptimizerConfig, Parameters};

use super::training::{examples, train_config};
use crate::step::sft_step;
use crate::{SftBatch, TrainConfig};

#[test]
fn a_step_on_padded_and_packed_rows_is_the_same_on_each_device() -> Result<()> {
    let (examples, model_config) = (examples(6), super::config(16));
    let optimizer = OptimizerConfig::from(AdamWConfig { eps: 1., ..AdamWConfig::default() });
    let config = train_config(1);
    let schedule = LrSchedule { peak_lr: 1., min_lr: 1., warmup_steps: 0, ..config.schedule };
    let config = TrainConfig { optimizer, schedule, ..config };
    assert_same_step_on_each_device(1e-4, |device| {
        let mut parameters = Parameters::seeded(3, DType::F32, device);
        let model = GptModern::new(&model_config, parameters.root())?;
        let mut state = TrainState::new(parameters, optimizer)?;
        let padded = SftBatch::padded(&examples[..3], device)?;
        let logits = model.forward(&padded.inputs)?;
        let batches = [padded, SftBatch::packed(&examples[3..], 16, device)?];
        sft_step(&model, &mut state, &batches, &config, &mut RunLog::of_losses(1)?)?;
        Ok((logits, state.parameters))
    })
}
