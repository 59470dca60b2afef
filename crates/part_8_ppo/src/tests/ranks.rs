//! Data-parallel PPO: the result does not depend on the number of ranks.

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};
use experiment::Run;
use ranks::{Ranks, in_threads};
use tensor_core::Rng;
use tensor_core::testing::assert_close;

use super::CPU;
use super::small_run::{
    actor_critic, bits, chat_tokenizer, config, ending, experience_of, letters, reference, run,
    scored_rollouts,
};
use crate::rewards::TruncationHandling;
use crate::step::update;
use crate::{CriticBackbone, PpoConfig, PpoExperience, PpoUpdateMetrics, RewardFn};

/// Completions that a rank has scored, and all weights of policy and critic after training.
struct RankRun {
    scored: Vec<String>,
    weights: Vec<Vec<f32>>,
    kl_coef: f64,
    updates: usize,
}

/// Settings of a run on ranks.
#[derive(Clone, Copy)]
struct Setting {
    critic: CriticBackbone,
    grad_accum_steps: usize,
    with_ptx: bool,
    early_stop_kl: Option<f64>,
}

const PLAIN: Setting = Setting {
    critic: CriticBackbone::Separate,
    grad_accum_steps: 1,
    with_ptx: false,
    early_stop_kl: None,
};

/// Trains on `ranks`. A step has 4 prompts, of which 3 ranks have unequal shares and one of 5 has
/// none; it has two minibatches of two prompts, which two ranks share, or of two micro-batches of
/// one prompt, which one rank has.
fn train_on(ranks: &Ranks, setting: Setting) -> Result<RankRun> {
    let chat_tokenizer = chat_tokenizer()?;
    let mut config: PpoConfig = config(5, chat_tokenizer.eos_token_id());
    config.update.n_minibatches = 2;
    config.update.grad_accum_steps = setting.grad_accum_steps;
    config.update.early_stop_kl = setting.early_stop_kl;
    (config.schedule.peak_lr, config.schedule.min_lr) = (1e-3, 1e-3);
    let mut actor_critic = actor_critic(&chat_tokenizer, setting.critic, &config)?;
    let this_run = Run { ranks: ranks.clone(), ..Run::default() };
    let scored = Rc::new(RefCell::new(Vec::new()));
    let (seen, mut letters) = (scored.clone(), letters());
    let mut reward_fn: Box<RewardFn> = Box::new(move |inputs, rng| {
        seen.borrow_mut().extend(inputs.iter().map(|input| input.completion.to_string()));
        letters(inputs, rng)
    });
    run(&mut actor_critic, &mut *reward_fn, &config, &this_run, setting.with_ptx, None)?;
    let weights = [bits(&actor_critic.policy)?, bits(&actor_critic.critic)?].concat();
    let progress = actor_critic.progress;
    Ok(RankRun {
        scored: scored.take(),
        weights,
        kl_coef: progress.kl_coef,
        updates: progress.updates,
    })
}

#[test]
fn ranks_train_the_policy_and_the_critic_of_one() -> Result<()> {
    let settings = [
        PLAIN,
        Setting { critic: CriticBackbone::Shared, grad_accum_steps: 2, ..PLAIN },
        Setting { with_ptx: true, ..PLAIN },
        Setting { with_ptx: true, grad_accum_steps: 2, ..PLAIN },
        // The rest of a step is skipped on all ranks, or on none.
        Setting { early_stop_kl: Some(2e-5), ..PLAIN },
    ];
    for setting in settings {
        let alone = train_on(&Ranks::Alone, setting)?;
        let stops_early = alone.updates < 5 * config(5, 0).update.ppo_epochs * 2;
        assert_eq!(stops_early, setting.early_stop_kl.is_some(), "{} updates", alone.updates);
        for n_ranks in [2, 3, 5] {
            let mut n_scored = 0;
            for rank_run in in_threads(n_ranks, |ranks| train_on(&ranks, setting)) {
                let rank_run = rank_run?;
                n_scored += rank_run.scored.len();
                assert_eq!(rank_run.updates, alone.updates);
                assert_close(rank_run.kl_coef, alone.kl_coef, 1e-6);
                for (a, b) in rank_run.weights.iter().zip(&alone.weights) {
                    assert_close(&a[..], &b[..], 1e-5);
                }
            }
            // Every rank validates on 6 prompts, before and after; 5 steps have 16 completions.
            assert_eq!(n_scored, 5 * 16 + 12 * n_ranks);
            assert_eq!(alone.scored.len(), 5 * 16 + 12);
        }
    }
    Ok(())
}

/// Metrics of a single optimizer step on `ranks`, on 6 groups that are the same on all of them.
fn metrics_of_update(ranks: &Ranks) -> Result<PpoUpdateMetrics> {
    let chat_tokenizer = chat_tokenizer()?;
    let mut config = config(1, chat_tokenizer.eos_token_id());
    (config.update.ppo_epochs, config.update.n_minibatches) = (1, 1);
    let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Separate, &config)?;
    let experience = experience_of(&mut actor_critic, &chat_tokenizer, &config)?;
    let mut models = actor_critic.models()?;
    actor_critic.policy.ranks = ranks.clone();
    update(&mut actor_critic, &mut models, &experience, &config, 1e-3, None, &mut Rng::new(2))
}

/// Weights do not show a factor of all gradients: AdamW divides by it.
#[test]
fn an_update_on_ranks_has_the_losses_and_the_gradient_norms_of_one() -> Result<()> {
    let numbers = |metrics: &PpoUpdateMetrics| {
        let PpoUpdateMetrics { policy_loss, value_loss, entropy, ratio_max, .. } = *metrics;
        let PpoUpdateMetrics { grad_norm, critic_grad_norm, .. } = *metrics;
        [policy_loss, value_loss, entropy, ratio_max, grad_norm, critic_grad_norm]
    };
    let alone = metrics_of_update(&Ranks::Alone)?;
    assert!(alone.grad_norm > 1e-3 && alone.critic_grad_norm > 1e-3, "{alone:?}");
    for n_ranks in [2, 4] {
        for of_rank in in_threads(n_ranks, |ranks| metrics_of_update(&ranks)) {
            assert_close(numbers(&of_rank?), numbers(&alone), 1e-5);
        }
    }
    Ok(())
}

/// Experience on `ranks` of completions of which some are truncated, with a critic whose head is
/// not 0.
fn experience_on(ranks: &Ranks) -> Result<PpoExperience> {
    let chat_tokenizer = chat_tokenizer()?;
    let mut config = ending(1);
    config.reward_shaping.truncation = TruncationHandling::Bootstrap;
    let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Separate, &config)?;
    let head = actor_critic.critic.parameters.get("value_head.weight").expect("a weight");
    head.var.set(&Rng::new(3).normal_tensor(head.var.shape(), 1., DType::F32, &CPU)?)?;
    let rollouts = scored_rollouts(&mut actor_critic, &chat_tokenizer, &config)?;
    let (models, reference) = (actor_critic.models()?, reference(&chat_tokenizer)?);
    PpoExperience::from_rollouts(rollouts, &models, &reference, &config, 0.1, ranks)
}

#[test]
fn ranks_compute_the_values_of_one_also_at_the_cut_of_a_completion() -> Result<()> {
    let numbers = |experience: &PpoExperience| -> Result<Vec<f32>> {
        let PpoExperience { values, returns, advantages, .. } = experience;
        Ok(Tensor::cat(&[values, returns, advantages], 0)?.flatten_all()?.to_vec1()?)
    };
    let alone = experience_on(&Ranks::Alone)?;
    let completions = alone.groups.iter().flat_map(|group| &group.completions);
    let n_truncated = completions.clone().filter(|completion| !completion.terminated()).count();
    assert!(n_truncated > 0 && n_truncated < completions.count());
    for n_ranks in [2, 4] {
        for of_rank in in_threads(n_ranks, |ranks| numbers(&experience_on(&ranks)?)) {
            assert_close(&of_rank?[..], &numbers(&alone)?[..], 1e-5);
        }
    }
    Ok(())
}

#[test]
fn the_same_run_on_two_ranks_gives_the_same_bits_twice() -> Result<()> {
    let run = || -> Result<Vec<RankRun>> {
        in_threads(2, |ranks| train_on(&ranks, PLAIN)).into_iter().collect()
    };
    let (first, second) = (run()?, run()?);
    assert!(first[0].weights == first[1].weights && first[0].weights == second[0].weights);
    Ok(())
}

#[test]
fn an_error_of_a_reward_function_on_one_rank_ends_all() {
    let results = in_threads(2, |ranks| {
        let chat_tokenizer = chat_tokenizer()?;
        let config = config(5, chat_tokenizer.eos_token_id());
        let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
        let (is_second, mut n_calls) = (ranks.rank() == 1, 0);
        let mut reward_fn: Box<RewardFn> = Box::new(move |inputs, _| {
            n_calls += 1;
            ensure!(!is_second || n_calls < 3, "the reward program ended");
            Ok(vec![0.; inputs.len()])
        });
        let this_run = Run { ranks, ..Run::default() };
        run(&mut actor_critic, &mut *reward_fn, &config, &this_run, false, None)
    });
    let errors: Vec<String> = results.into_iter().map(|r| r.unwrap_err().to_string()).collect();
    assert_eq!(errors, ["rank 1 has ended", "the reward program ended"]);
}
