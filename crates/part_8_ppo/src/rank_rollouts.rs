//! Rollouts of several ranks: each samples and scores the completions of its share of the
//! prompts, a group as a whole, and all get those of all. Whatever is computed from the rewards of
//! a step (baselines, whitening, metrics) is then the same on every rank.

use anyhow::Result;
use modern::GptModern;
use ranks::Ranks;
use tensor_core::Rng;

use crate::prompts::{PromptExample, prompt_ids};
use crate::reward_fn::{RewardPart, ScoredRollouts};
use crate::rollout::{RolloutConfig, rollout};
use crate::rollout_group::RolloutGroup;
use crate::scoring::Scoring;

/// Groups of completions for this rank's share of `prompts`. Each completion has the random stream
/// that it has on one rank.
///
/// # Errors
/// Those of [`rollout`], and when another rank has ended.
pub fn rollout_share(
    model: &GptModern,
    prompts: &[PromptExample],
    config: &RolloutConfig,
    ranks: &Ranks,
    rng: &mut Rng,
) -> Result<Vec<RolloutGroup>> {
    let share = ranks.rows(prompts.len());
    let skip = |n_prompts: usize, rng: &mut Rng| {
        for _ in 0..n_prompts * config.group_size {
            rng.fork();
        }
    };
    skip(share.start, rng);
    let groups = rollout(model, &prompt_ids(&prompts[share.clone()]), config, rng)?;
    skip(prompts.len() - share.end, rng);
    ranks.any(false)?; // sampling lasts as long as on the slowest rank
    Ok(groups)
}

impl ScoredRollouts {
    /// Rollouts of all `ranks`, of which this one has sampled `groups` for its share of `prompts`.
    /// With several ranks, a reward that is random has another stream on each, and one that
    /// compares completions of different prompts sees those of the share. With a sampling filter,
    /// the allowed tokens of all completions travel, too.
    ///
    /// # Errors
    /// Those of [`ScoredRollouts::new`], and when another rank has ended.
    pub fn of_all_ranks(
        groups: Vec<RolloutGroup>,
        prompts: &[PromptExample],
        scoring: &mut Scoring<'_>,
        ranks: &Ranks,
        rng: &mut Rng,
    ) -> Result<Self> {
        let (chat_tokenizer, parts) = (scoring.chat_tokenizer, &scoring.parts);
        let reward_fn = &mut *scoring.reward_fn;
        if !ranks.are_several() {
            return Self::new(groups, prompts, chat_tokenizer, reward_fn, rng);
        }
        let share = &prompts[ranks.rows(prompts.len())];
        // The minibatches that `rng` shuffles later are those of one rank.
        let mut streams = rng.clone();
        let mut own_rng = (0..ranks.rank()).fold(streams.fork(), |_, _| streams.fork());
        let before = scoring.counter.counts();
        let (own, deferred) = scoring.counter.defer_unscored_error(|| match share.is_empty() {
            true => Ok(Self::default()),
            false => Self::new(groups, share, chat_tokenizer, reward_fn, &mut own_rng),
        })?;
        let own_parts = if share.is_empty() { Vec::new() } else { parts.0.borrow().clone() };
        let mut all = Self::default();
        for rollouts in ranks.gather(&own)? {
            all.groups.extend(rollouts.groups);
            all.completion_texts.extend(rollouts.completion_texts);
            all.rewards.extend(rollouts.rewards);
        }
        *parts.0.borrow_mut() = join_parts(ranks.gather(&own_parts)?);
        scoring.counter.add_other_ranks(before, ranks)?;
        scoring.counter.ensure_ranks_scored(deferred, ranks)?;
        Ok(all)
    }
}

/// Terms of a weighted sum with the rewards of all ranks. A rank without completions has no terms.
fn join_parts(of_ranks: Vec<Vec<RewardPart>>) -> Vec<RewardPart> {
    let mut of_ranks = of_ranks.into_iter().filter(|parts| !parts.is_empty());
    let mut all = of_ranks.next().unwrap_or_default();
    for parts in of_ranks {
        for (whole, RewardPart { rewards, notes, .. }) in all.iter_mut().zip(parts) {
            whole.rewards.extend(rewards);
            whole.notes.extend(notes);
        }
    }
    all
}
