//! A training step on each device is that on the CPU.

use anyhow::Result;
use candle_core::DType;
use experiment::{RunLog, TrainState};
use scaling::LrSchedule;
use tensor_core::testing::assert_same_step_on_each_device;
use tensor_core::{AdamWConfig, OptimizerConfig, Parameters};

use super::training::{pairs, train_config};
use super::{BOTH, config};
use crate::step::reward_step;
use crate::{PairBatch, RewardModel, TrainConfig};

#[test]
fn a_step_of_both_architectures_is_the_same_on_each_device() -> Result<()> {
    let pairs = pairs()?;
    let optimizer = OptimizerConfig::from(AdamWConfig { eps: 1., ..AdamWConfig::default() });
    let train_config = train_config(1);
    let schedule = LrSchedule { peak_lr: 1., min_lr: 1., warmup_steps: 0, ..train_config.schedule };
    let train_config = TrainConfig { optimizer, schedule, ..train_config };
    for architecture in BOTH {
        assert_same_step_on_each_device(1e-4, |device| {
            let mut parameters = Parameters::seeded(3, DType::F32, device);
            let model = RewardModel::new(&config(64), architecture, &mut parameters)?;
            let mut state = TrainState::new(parameters, optimizer)?;
            let batch =
                |n: usize| PairBatch::from_pairs(&pairs.iter().take(n).collect::<Vec<_>>(), device);
            let batches = [batch(3)?, batch(2)?];
            let [chosen, _rejected] = batches[0].rewards(&model)?;
            let log = &mut RunLog::of_losses(1)?;
            reward_step(&model, &mut state, &batches, &train_config, log)?;
            Ok((chosen, state.parameters))
        })?;
    }
    Ok(())
}
