//! 8.3 Rollouts as text, and their rewards.

use anyhow::Result;
use model_io::SkipSpecialTokens;
use sft::ChatTokenizer;
use tensor_core::Rng;

use crate::prompts::PromptExample;
use crate::reward_fn::{RewardFn, RewardInput, call_reward_fn};
use crate::rollout_group::RolloutGroup;

/// Rollouts with their rewards.
#[derive(Debug, Clone)]
pub struct ScoredRollouts {
    /// Prompts with their completions.
    pub groups: Vec<RolloutGroup>,
    /// Decoded completions.
    pub completion_texts: Vec<String>,
    /// Reward of each of the R completions.
    pub rewards: Vec<f64>,
}

impl ScoredRollouts {
    /// Rewards of the completions of `groups`, whose prompts are `prompts`.
    ///
    /// # Errors
    /// Those of `reward_fn`, or when a token is outside the tokenizer's vocabulary.
    pub fn new(
        groups: Vec<RolloutGroup>,
        prompts: &[PromptExample],
        chat_tokenizer: &ChatTokenizer,
        reward_fn: &mut RewardFn,
        rng: &mut Rng,
    ) -> Result<Self> {
        let completion_texts = decode_completions(&groups, chat_tokenizer)?;
        let rewards = compute_rewards(&groups, prompts, &completion_texts, reward_fn, rng)?;
        Ok(Self { groups, completion_texts, rewards })
    }
}

/// Decoded completions of `groups`.
///
/// # Errors
/// When a token is outside the tokenizer's vocabulary.
pub fn decode_completions(
    groups: &[RolloutGroup],
    chat_tokenizer: &ChatTokenizer,
) -> Result<Vec<String>> {
    let completions = groups.iter().flat_map(|group| &group.completions);
    completions
        .map(|one| decode_completion(&one.tokens, one.terminated(), chat_tokenizer))
        .collect()
}

/// Rewards of the completions of `groups`, whose prompts are `prompts`.
///
/// # Errors
/// Those of `reward_fn`, or when it returns another number of rewards.
pub fn compute_rewards(
    groups: &[RolloutGroup],
    prompts: &[PromptExample],
    texts: &[String],
    reward_fn: &mut RewardFn,
    rng: &mut Rng,
) -> Result<Vec<f64>> {
    let each = groups.iter().zip(prompts).flat_map(|(group, prompt)| {
        group.completions.iter().map(move |one| (one.terminated(), &prompt.example))
    });
    let inputs: Vec<RewardInput<'_>> = each
        .zip(texts)
        .map(|((terminated, example), text)| RewardInput { example, completion: text, terminated })
        .collect();
    call_reward_fn(reward_fn, &inputs, rng)
}

/// Message that names the first of `rewards` that is not finite, with its completion.
pub fn non_finite_message(rewards: &[f64], texts: &[String]) -> Option<String> {
    let at = rewards.iter().position(|reward| !reward.is_finite())?;
    let bad = rewards.iter().filter(|reward| !reward.is_finite()).count();
    let (reward, text) = (rewards[at], &texts[at]);
    Some(format!(
        "{bad} of {} rewards are not finite; the first, {reward}, is that of {text:?}",
        rewards.len()
    ))
}

/// Text of `tokens` without the stop token of a terminated completion. All other special tokens
/// stay visible by name: what a reward function cannot see, a policy could generate without
/// penalty.
///
/// # Errors
/// When they cannot be decoded.
pub(crate) fn decode_completion(
    tokens: &[u32],
    terminated: bool,
    chat_tokenizer: &ChatTokenizer,
) -> Result<String> {
    let tokens = &tokens[..tokens.len() - usize::from(terminated && !tokens.is_empty())];
    let tokenizer = &chat_tokenizer.tokenizer;
    let mut text = tokenizer.decode(tokens, SkipSpecialTokens::No)?;
    let unknown = tokens.iter().filter(|&&token| tokenizer.id_to_token(token).is_none()).count();
    text.extend(std::iter::repeat_n('\u{fffd}', unknown)); // ids beyond the tokenizer's vocabulary
    Ok(text)
}
