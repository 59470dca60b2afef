//! 9.5: the training loop in part 8's five probe worlds, with every method. Without a critic there
//! is no value to check: where the reward does not depend on the completion, the policy must not
//! move. Nothing is discounted, so a delayed reward counts in full for the token that earned it.

#[path = "../../../../part_8_ppo/src/tests/probe_worlds/world.rs"]
mod world;

use anyhow::Result;
use datasets::Example;
use experiment::Run;
use ppo::prompts::{prompt_ids, tokenize_prompts};
use ppo::{RewardInput, ScoredRollouts, rollout};
use tensor_core::Rng;
use world::World;

use super::{chat_tokenizer, flat_parameters, grpo_config, new_policy, train_policy};
use crate::{Baseline, Method};

/// Result of training in a world.
struct Outcome {
    /// Mean reward of sampled completions of each prompt.
    rewards: [f64; 2],
    /// Weights before and after.
    weights: [Vec<f32>; 2],
}

/// Trains a policy in `world` for `steps` steps with `method`, without a KL term.
fn train_in(world: World, method: Method, steps: usize) -> Result<Outcome> {
    let chat_tokenizer = &chat_tokenizer()?;
    let mut config = grpo_config(steps, chat_tokenizer).with_method(method);
    (config.objective.kl, config.reference_update) = (None, None);
    config.rollout.stop_token_ids = vec![u32::MAX]; // no token ends a completion early
    (config.rollout.max_new_tokens, config.rollout.group_size) = (world.n_tokens(), 16);
    let examples = World::PROMPTS.map(|prompt| Example::new(prompt, "")).to_vec();
    let (mut prompts, _) = tokenize_prompts(examples, chat_tokenizer, 24, world.n_tokens())?;
    // Without the line break, so that what tells the prompts apart is what is read last.
    for prompt in &mut prompts {
        prompt.prompt.pop();
    }
    let mut reward_fn = move |inputs: &[RewardInput<'_>], _: &mut Rng| {
        let prompt = |example: &Example| example.prompt[0].content.clone();
        Ok(inputs.iter().map(|i| world.reward(&prompt(i.example), i.completion)).collect())
    };
    let mut policy = new_policy(chat_tokenizer, None)?;
    let before = flat_parameters(&policy)?;
    train_policy(&mut policy, &prompts, &config, &mut reward_fn, 0, None, &Run::default())?;

    let rng = &mut Rng::new(7);
    config.rollout.group_size = 64;
    let groups = rollout(&policy.models.inference, &prompt_ids(&prompts), &config.rollout, rng)?;
    let scored = ScoredRollouts::new(groups, &prompts, chat_tokenizer, &mut reward_fn, rng)?;
    let mean = |prompt: usize| scored.rewards[64 * prompt..][..64].iter().sum::<f64>() / 64.;
    Ok(Outcome { rewards: [mean(0), mean(1)], weights: [before, flat_parameters(&policy)?] })
}

#[test]
fn a_reward_that_the_completion_cannot_change_does_not_move_the_policy() -> Result<()> {
    for method in Method::ALL.into_iter().filter(|method| method.baseline().is_of_group()) {
        for (world, expected) in [(World::Constant, [1., 1.]), (World::Observation, [1., -1.])] {
            let Outcome { rewards, weights: [before, after] } = train_in(world, method, 3)?;
            assert_eq!(rewards, expected, "{method:?} {world:?}");
            assert!(before == after, "{method:?} {world:?}");
        }
    }
    // The mean of earlier rewards is no prompt's own: 0 before the first step, and then a constant.
    assert_eq!(Method::Reinforce.baseline(), Baseline::MovingAverage);
    let Outcome { weights: [before, after], .. } =
        train_in(World::Observation, Method::Reinforce, 3)?;
    assert!(before != after, "a baseline that compares prompts with each other is noise here");
    Ok(())
}

#[test]
fn a_rewarded_token_becomes_likely_also_if_the_reward_is_late_or_depends_on_the_prompt()
-> Result<()> {
    for method in Method::ALL {
        for world in [World::Action, World::Delayed, World::ActionAndObservation] {
            let Outcome { rewards, .. } = train_in(world, method, 50)?;
            assert!(
                rewards.iter().all(|&reward| reward > 0.9),
                "{method:?} {world:?}: {rewards:?}"
            );
        }
    }
    Ok(())
}
