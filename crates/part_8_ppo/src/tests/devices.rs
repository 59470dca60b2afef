//! A training step on each device is that on the CPU, given what was sampled.

use anyhow::Result;
use candle_core::DType;
use experiment::TrainState;
use modern::GptModern;
use ranks::Ranks;
use tensor_core::testing::assert_same_step_on_each_device;
use tensor_core::{AdamWConfig, OptimizerConfig, Parameters, Rng};

use super::small_run::{actor_critic, chat_tokenizer, ending, model_config, scored_rollouts};
use crate::step::update;
use crate::{ActorCritic, CriticBackbone, PpoExperience};

#[test]
fn a_step_with_both_critics_is_the_same_on_each_device() -> Result<()> {
    let (chat_tokenizer, mut config) = (chat_tokenizer()?, ending(1));
    (config.update.ppo_epochs, config.update.n_minibatches) = (1, 1);
    config.update.grad_accum_steps = 2;
    let optimizer = OptimizerConfig::from(AdamWConfig { eps: 1., ..AdamWConfig::default() });
    for backbone in [CriticBackbone::Shared, CriticBackbone::Separate] {
        let mut sampler = actor_critic(&chat_tokenizer, backbone, &config)?;
        let rollouts = scored_rollouts(&mut sampler, &chat_tokenizer, &config)?;
        assert_same_step_on_each_device(1e-3, |device| {
            let model = model_config(&chat_tokenizer);
            let mut parameters = Parameters::seeded(5, DType::F32, device);
            GptModern::new(&model, parameters.root())?;
            let policy = TrainState::new(parameters, optimizer)?;
            let mut actor_critic =
                ActorCritic::new(model, policy, backbone, optimizer, config.kl_controller)?;
            let mut models = actor_critic.models()?;
            let (reference, ranks) = (&models.rollout_policy, &Ranks::Alone);
            let rollouts = rollouts.clone();
            let experience =
                PpoExperience::from_rollouts(rollouts, &models, reference, &config, 0.1, ranks)?;
            let rng = &mut Rng::new(1);
            update(&mut actor_critic, &mut models, &experience, &config, 1., None, rng)?;
            Ok((experience.advantages, actor_critic.policy.parameters))
        })?;
    }
    Ok(())
}
