//! Data-parallel GRPO: the result does not depend on the number of ranks.

use anyhow::Result;
use experiment::Run;
use ppo::RewardFn;
use ranks::{Ranks, in_threads};
use tensor_core::testing::assert_close;

use super::{
    chat_tokenizer, flat_parameters, grpo_config, lowercase_fraction, new_policy, prompt_examples,
    train_policy,
};
use crate::{GrpoConfig, ReferenceUpdate};

/// Weights, metrics of the last step and number of sampled tokens after training on `ranks`. A step
/// has 6 prompts, of which 4 ranks have unequal shares; a group with equal rewards is left out.
fn train_on(ranks: &Ranks, config: &GrpoConfig) -> Result<(Vec<f32>, Vec<f64>, usize)> {
    let chat_tokenizer = chat_tokenizer()?;
    let mut policy = new_policy(&chat_tokenizer, config.reference_update)?;
    let (prompts, run) =
        (prompt_examples(&chat_tokenizer)?, Run { ranks: ranks.clone(), ..Run::default() });
    let mut reward_fn: Box<RewardFn> = Box::new(|inputs, _| {
        Ok(inputs.iter().map(|input| f64::from(lowercase_fraction(input)).round()).collect())
    });
    let n_tokens = train_policy(&mut policy, &prompts, config, &mut *reward_fn, 0, None, &run)?;
    let last = policy.progress.recent_steps.last().copied().expect("a step");
    let update = last.update.expect("an update");
    let metrics = vec![
        last.reward_mean,
        last.reward_std,
        last.entropy,
        update.loss,
        update.grad_norm,
        update.ratio_max,
        update.kl_per_token.unwrap_or(0.),
    ];
    Ok((flat_parameters(&policy)?, metrics, n_tokens))
}

fn config_with_kl() -> Result<GrpoConfig> {
    let mut config = grpo_config(6, &chat_tokenizer()?);
    (config.update.schedule.peak_lr, config.update.schedule.min_lr) = (1e-3, 1e-3);
    (config.update.num_iterations, config.update.micro_batch_size) = (2, 2);
    config.objective.kl = Some((crate::KlLoss::default(), 0.1));
    config.reference_update = Some(ReferenceUpdate::Fixed);
    Ok(config)
}

#[test]
fn two_and_four_ranks_train_the_policy_of_one() -> Result<()> {
    let mut without_kl = config_with_kl()?;
    (without_kl.objective.kl, without_kl.reference_update) = (None, None);
    for config in [config_with_kl()?, without_kl] {
        let (alone, metrics, n_tokens) = train_on(&Ranks::Alone, &config)?;
        for n_ranks in [2, 4] {
            for result in in_threads(n_ranks, |ranks| train_on(&ranks, &config)) {
                let (weights, of_rank, n_sampled) = result?;
                assert_eq!(n_sampled, n_tokens, "the same completions");
                assert_close(&of_rank[..], &metrics[..], 1e-5);
                assert_close(&weights[..], &alone[..], 1e-5);
            }
        }
    }
    Ok(())
}

#[test]
fn a_reward_that_is_not_finite_on_one_rank_skips_the_step_on_all() -> Result<()> {
    let config = config_with_kl()?;
    let chat_tokenizer = chat_tokenizer()?;
    let before = flat_parameters(&new_policy(&chat_tokenizer, config.reference_update)?)?;
    let results = in_threads(2, |ranks| {
        let mut policy = new_policy(&super::chat_tokenizer()?, config.reference_update)?;
        let prompts = prompt_examples(&super::chat_tokenizer()?)?;
        let is_bad = ranks.rank() == 1;
        let reward = if is_bad { f64::NAN } else { 1. };
        let mut reward_fn: Box<RewardFn> =
            Box::new(move |inputs, _| Ok(vec![reward; inputs.len()]));
        let run = Run { ranks, ..Run::default() };
        train_policy(&mut policy, &prompts, &config, &mut *reward_fn, 0, None, &run)?;
        Ok((policy.state.progress.step, flat_parameters(&policy)?))
    });
    for result in results {
        assert_eq!(result?, (6, before.clone()));
    }
    Ok(())
}
