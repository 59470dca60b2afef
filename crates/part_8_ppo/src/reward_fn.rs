//! 8.5 Rewards of rollouts, and reward functions: a rule that compares with the right answer, or a
//! random reward as a control.

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::{Result, ensure};
use datasets::Example;
use datasets::answers::final_answer;
use datasets::numbers::approx_equal;
use model_io::SkipSpecialTokens;
use modern::FinishReason;
use serde::{Deserialize, Serialize};
use sft::ChatTokenizer;
use sft::metrics::exact_match;
use tensor_core::Rng;

use crate::prompts::PromptExample;
use crate::rollout_group::{RolloutGroup, SampledCompletion};
use crate::scoring_counter::ScoringCounter;

/// Completion to be rewarded, with its example.
#[derive(Debug, Clone, Copy)]
pub struct RewardInput<'a> {
    /// Prompt, and the right completion if there is one.
    pub example: &'a Example,
    /// Text of the completion.
    pub completion: &'a str,
    /// Reason why it ended.
    pub finish_reason: FinishReason,
}

impl RewardInput<'_> {
    /// Whether the completion ended with a stop token, so was not truncated.
    pub fn terminated(&self) -> bool {
        self.finish_reason == FinishReason::Stop
    }
}

/// Reward function: one reward per input; randomness comes from the given stream.
pub type RewardFn = dyn FnMut(&[RewardInput<'_>], &mut Rng) -> Result<Vec<f64>>;

/// Rollouts with their rewards.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
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
        let mut completion_texts = Vec::new();
        for SampledCompletion { tokens, finish_reason, .. } in
            groups.iter().flat_map(|group| &group.completions)
        {
            completion_texts.push(decode_completion(tokens, *finish_reason, chat_tokenizer)?);
        }
        let mut inputs = Vec::with_capacity(completion_texts.len());
        let mut texts = completion_texts.iter();
        for (group, PromptExample { example, .. }) in groups.iter().zip(prompts) {
            for (completion, text) in group.completions.iter().zip(&mut texts) {
                let finish_reason = completion.finish_reason;
                inputs.push(RewardInput { example, completion: text, finish_reason });
            }
        }
        let rewards = call_reward_fn(reward_fn, &inputs, rng)?;
        Ok(Self { groups, completion_texts, rewards })
    }

    /// Number of completion tokens.
    pub fn n_tokens(&self) -> usize {
        self.groups.iter().map(RolloutGroup::n_tokens).sum()
    }
}

/// Rewards of `inputs` by `reward_fn`.
///
/// # Errors
/// Those of `reward_fn`, or when it returns another number of rewards.
pub(crate) fn call_reward_fn(
    reward_fn: &mut RewardFn,
    inputs: &[RewardInput<'_>],
    rng: &mut Rng,
) -> Result<Vec<f64>> {
    let rewards = reward_fn(inputs, rng)?;
    let (n, n_rewards) = (inputs.len(), rewards.len());
    ensure!(n_rewards == n, "the reward function gave {n_rewards} rewards to {n} completions");
    Ok(rewards)
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
    finish_reason: FinishReason,
    chat_tokenizer: &ChatTokenizer,
) -> Result<String> {
    let tokens = match (finish_reason, tokens) {
        (FinishReason::Stop, [tokens @ .., _stop]) => tokens,
        _ => tokens,
    };
    let tokenizer = &chat_tokenizer.tokenizer;
    let mut text = tokenizer.decode(tokens, SkipSpecialTokens::No)?;
    let unknown = tokens.iter().filter(|&&token| tokenizer.id_to_token(token).is_none()).count();
    text.extend(std::iter::repeat_n('\u{fffd}', unknown)); // ids beyond the tokenizer's vocabulary
    Ok(text)
}

/// Exact-match reward: 1 for a terminated completion that equals the right one, else 0; silence is
/// never right.
pub fn exact_match_reward(input: &RewardInput<'_>) -> f64 {
    let answer = &input.example.completion;
    let right = input.terminated() && !answer.is_empty() && exact_match(input.completion, answer);
    f64::from(u8::from(right))
}

/// Reward function of [`exact_match_reward`].
pub fn exact_match_reward_fn() -> Box<RewardFn> {
    Box::new(|inputs, _| Ok(inputs.iter().map(exact_match_reward).collect()))
}

/// Final-answer reward of `text`: 1 if its answer is that of `right`, `format_reward` for a wrong
/// number, 0 without an answer. Texts that reason end with `#### 42`, as GSM8K's do.
pub fn final_answer_reward(text: &str, right: &str, format_reward: f64) -> f64 {
    match (final_answer(text), final_answer(right)) {
        (Some(answer), Some(right)) if approx_equal(answer, right) => 1.,
        (Some(_), _) => format_reward,
        (None, _) => 0.,
    }
}

/// Reward function of [`final_answer_reward`], with `format_reward` for a wrong number.
pub fn final_answer_reward_fn(format_reward: f64) -> Box<RewardFn> {
    let reward = move |input: &RewardInput<'_>| {
        final_answer_reward(input.completion, &input.example.completion, format_reward)
    };
    Box::new(move |inputs, _| Ok(inputs.iter().map(reward).collect()))
}

/// Random reward function, 1 or 0: a control that shows what the algorithm does without a signal.
pub fn random_reward_fn() -> Box<RewardFn> {
    Box::new(|inputs, rng| Ok(inputs.iter().map(|_| rng.below(2) as f64).collect()))
}

/// Rewards of a right and of a wrong completion, where a rule only tells the two apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutcomeRewards {
    /// Reward of a right completion.
    pub correct: f64,
    /// Reward of a wrong one.
    pub wrong: f64,
}

impl Default for OutcomeRewards {
    fn default() -> Self {
        Self { correct: 1., wrong: 0. }
    }
}

impl OutcomeRewards {
    /// Reward of a completion that is right to the share `right`: 1, 0, or between them.
    pub fn of(self, right: f64) -> f64 {
        right * self.correct + (1. - right) * self.wrong
    }

    /// The reward function `named`, 1 for right completions and 0 for wrong ones, with these
    /// rewards in their place.
    pub fn apply(self, named: NamedRewardFn) -> NamedRewardFn {
        if self == Self::default() {
            return named;
        }
        let NamedRewardFn { mut reward_fn, name, parts, counter, max_reward } = named;
        let name = format!("{name}, {} if right, else {}", self.correct, self.wrong);
        let reward_fn = move |inputs: &[RewardInput<'_>], rng: &mut Rng| {
            Ok(reward_fn(inputs, rng)?.into_iter().map(|right| self.of(right)).collect())
        };
        let max_reward = max_reward.map(|max| self.of(max));
        NamedRewardFn { reward_fn: Box::new(reward_fn), name, parts, counter, max_reward }
    }
}

/// Reward function with a name that identifies it on resume.
pub struct NamedRewardFn {
    /// Reward function.
    pub reward_fn: Box<RewardFn>,
    /// Name of a rule, or hash of a reward model's weights.
    pub name: String,
    /// Rewards of its terms at the last call, if it is a sum.
    pub parts: RewardParts,
    /// Counter of the conversations that its reward models and judges have read.
    pub counter: ScoringCounter,
    /// Highest reward of a completion, if it is known.
    pub max_reward: Option<f64>,
}

impl NamedRewardFn {
    /// Reward function without a reward model, whose highest reward is not known.
    pub fn new(reward_fn: Box<RewardFn>, name: String) -> Self {
        let parts = RewardParts::default();
        let counter = ScoringCounter::default();
        Self { reward_fn, name, parts, counter, max_reward: None }
    }
}

/// Rewards of the terms of a weighted sum at its last call, by name, before they are weighted. The
/// reward function writes them, and the log of completions reads them.
#[derive(Debug, Clone, Default)]
pub struct RewardParts(pub Rc<RefCell<Vec<RewardPart>>>);

/// Rewards of one term of a weighted sum.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RewardPart {
    /// Name of the term.
    pub name: String,
    /// Reward of each completion.
    pub rewards: Vec<f64>,
    /// Reason of each reward, such as the test that failed; empty if there are none.
    pub notes: Vec<String>,
}
