//! 8.5: PPO's training loop in five probe worlds: values, their discount, and the policy.

mod world;

use anyhow::Result;
use datasets::Example;
use experiment::{Run, RunLog, RunLogConfig};
use ranks::Ranks;
use tensor_core::Rng;
use tensor_core::testing::assert_close;
use world::World;

use super::small_run::{actor_critic, chat_tokenizer, config, reference};
use crate::kl::KlController;
use crate::prompts::{prompt_ids, tokenize_prompts};
use crate::{
    CompletionEvalConfig, CriticBackbone, PpoContext, PpoExperience, PpoValidator, PromptLoader,
    RewardFn, ScoredRollouts, Scoring, rollout, train,
};

const GAMMA: f64 = 0.5;

/// Completions of a trained policy: the prompt of each, its reward, and the values before its
/// tokens.
struct Outcome {
    prompts: Vec<String>,
    rewards: Vec<f64>,
    values: Vec<Vec<f32>>,
}

impl Outcome {
    /// Mean reward, and mean value before token `t`, of the completions of prompt `prompt`.
    fn means(&self, prompt: usize, t: usize) -> (f64, f64) {
        let of_prompt: Vec<usize> = (0..self.prompts.len())
            .filter(|&i| self.prompts[i] == World::PROMPTS[prompt])
            .collect();
        let mean = |of: &dyn Fn(usize) -> f64| {
            of_prompt.iter().map(|&i| of(i)).sum::<f64>() / of_prompt.len() as f64
        };
        (mean(&|i| self.rewards[i]), mean(&|i| f64::from(self.values[i][t])))
    }
}

/// Trains a policy with a critic in `world` for `steps` steps.
fn train_in(world: World, backbone: CriticBackbone, steps: usize) -> Result<Outcome> {
    let chat_tokenizer = &chat_tokenizer()?;
    let mut config = config(steps, u32::MAX); // no token ends a completion early
    config.kl_controller = KlController::Fixed(0.);
    config.rollout.max_new_tokens = world.n_tokens();
    config.rollout.group_size = 16;
    config.reward_shaping.gae.gamma = GAMMA;
    let mut actor_critic = actor_critic(chat_tokenizer, backbone, &config)?;
    let examples = World::PROMPTS.map(|prompt| Example::new(prompt, "")).to_vec();
    let (mut prompts, _) = tokenize_prompts(examples, chat_tokenizer, 24, world.n_tokens())?;
    // Without the line break, so that what tells the prompts apart is what is read last.
    for prompt in &mut prompts {
        prompt.prompt.pop();
    }
    let mut reward_fn: Box<RewardFn> = Box::new(move |inputs, _| {
        let prompt = |example: &Example| example.prompt[0].content.clone();
        let rewards = inputs.iter().map(|i| world.reward(&prompt(i.example), i.completion));
        Ok(rewards.collect())
    });
    let reference = reference(chat_tokenizer)?;
    let scoring = Scoring::from_fn(chat_tokenizer, &mut *reward_fn, None);
    let mut context = PpoContext { reference: &reference, scoring, ptx_loss: None };
    let validator = PpoValidator {
        prompts: &prompts,
        reward_shaping: &config.reward_shaping,
        eval_config: CompletionEvalConfig {
            chat_tokenizer,
            max_new_tokens: world.n_tokens(),
            batch_size: 2,
        },
        interval: 0,
        target_reward: None,
        model_saver: None,
    };
    let mut loader = PromptLoader::new(prompts.clone(), config.seed)?;
    let (run, mut log) = (Run::default(), RunLog::new(RunLogConfig::rewards(steps, 1, steps), 0)?);
    train(&mut actor_critic, &mut context, &mut loader, &config, &validator, &run, &mut log)?;

    let (models, rng) = (actor_critic.models()?, &mut Rng::new(7));
    config.rollout.group_size = 64;
    let groups = rollout(&models.rollout_policy, &prompt_ids(&prompts), &config.rollout, rng)?;
    let scored = ScoredRollouts::new(groups, &prompts, chat_tokenizer, &mut *reward_fn, rng)?;
    let experience =
        PpoExperience::from_rollouts(scored, &models, &reference, &config, 0., &Ranks::Alone)?;
    let prompts = World::PROMPTS.iter().flat_map(|prompt| vec![prompt.to_string(); 64]);
    Ok(Outcome {
        prompts: prompts.collect(),
        rewards: experience.rewards.clone(),
        values: experience.values.to_vec2()?,
    })
}

const BACKBONES: [CriticBackbone; 2] = [CriticBackbone::Separate, CriticBackbone::Shared];

#[test]
fn the_value_of_a_constant_reward_is_that_reward() -> Result<()> {
    for backbone in BACKBONES {
        let outcome = train_in(World::Constant, backbone, 30)?;
        for prompt in 0..2 {
            let (reward, value) = outcome.means(prompt, 0);
            assert_close(value, reward, 0.1);
        }
    }
    Ok(())
}

#[test]
fn the_value_of_a_prompt_is_its_own_reward() -> Result<()> {
    for backbone in BACKBONES {
        let outcome = train_in(World::Observation, backbone, 60)?;
        for (prompt, expected) in [1., -1.].into_iter().enumerate() {
            let (reward, value) = outcome.means(prompt, 0);
            assert_eq!(reward, expected);
            assert_close(value, expected, 0.2);
        }
    }
    Ok(())
}

#[test]
fn a_delayed_reward_reaches_the_token_that_earned_it_discounted_once() -> Result<()> {
    for backbone in BACKBONES {
        let outcome = train_in(World::Delayed, backbone, 60)?;
        for prompt in 0..2 {
            let [(reward, first), (_, last)] = [0, 1].map(|t| outcome.means(prompt, t));
            assert!(reward > 0.9, "{backbone:?}: {reward}");
            assert_close(first, GAMMA * reward, 0.1);
            assert_close(last, reward, 0.1);
        }
    }
    Ok(())
}

#[test]
fn a_rewarded_token_becomes_likely() -> Result<()> {
    for backbone in BACKBONES {
        let outcome = train_in(World::Action, backbone, 60)?;
        for prompt in 0..2 {
            let (reward, value) = outcome.means(prompt, 0);
            assert!(reward > 0.9, "{backbone:?}: {reward}");
            assert_close(value, reward, 0.15);
        }
    }
    Ok(())
}

#[test]
fn each_prompt_gets_the_token_that_is_rewarded_after_it() -> Result<()> {
    for backbone in BACKBONES {
        let outcome = train_in(World::ActionAndObservation, backbone, 60)?;
        for prompt in 0..2 {
            let (reward, value) = outcome.means(prompt, 0);
            assert!(reward > 0.9, "{backbone:?}, prompt {prompt}: {reward}");
            assert_close(value, reward, 0.15);
        }
    }
    Ok(())
}
