//! A training step on each device is that on the CPU.

use anyhow::Result;
use candle_core::{DType, Module, Tensor};
use datasets::builtin_text::BuiltinText;
use experiment::{Run, RunLog};
use model_io::ModelConfig;
use tensor_core::testing::assert_same_step_on_each_device;
use tensor_core::{AdamWConfig, OptimizerConfig, Parameters};
use tiny_gpt::ByteCorpus;

use crate::config::{
    ExpertSelection, LoadBalancing, MoeConfig, RouterConfig, RouterTrainingConfig,
};
use crate::model::is_selection_bias;
use crate::{GptMoe, MoeTrainState, TrainConfig, train};

#[test]
fn a_step_with_balanced_experts_is_the_same_on_each_device() -> Result<()> {
    let expert_selection = ExpertSelection::Biased;
    let router = RouterConfig { expert_selection, ..RouterConfig::new(4, 2) };
    let model_config = MoeConfig::with_flops_of(&ModelConfig::byte_level(16, 1, 2, 16), router)?;
    let corpus = ByteCorpus::from_bytes(&BuiltinText::English.text().as_bytes()[..3_000]);
    let optimizer = OptimizerConfig::from(AdamWConfig { eps: 1., ..AdamWConfig::default() });
    let base =
        tiny_gpt::TrainConfig { lr: 1., optimizer, ..tiny_gpt::TrainConfig::with_defaults(1, 4) };
    let load_balancing =
        LoadBalancing { aux_loss_coef: 0.05, z_loss_coef: 0.001, bias_update_rate: 0.01 };
    let config = TrainConfig { base, load_balancing };
    assert_same_step_on_each_device(1e-4, |device| {
        let mut parameters = Parameters::seeded(1, DType::F32, device);
        let router_training = RouterTrainingConfig::default();
        let model = GptMoe::new_for_training(&model_config, parameters.root(), router_training)?;
        parameters.freeze(is_selection_bias);
        let logits = model.forward(&Tensor::new(&[[1u32, 2, 3], [9, 8, 7]], device)?)?;
        let mut state = MoeTrainState::new(parameters, optimizer, 1)?;
        let (run, mut log) = (Run::default(), RunLog::of_losses(1)?);
        train(&model, &mut state, &corpus, &config, None, &run, &mut log)?;
        Ok((logits, state.train.parameters))
    })
}
