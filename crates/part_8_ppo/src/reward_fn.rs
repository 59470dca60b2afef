//! 8.5 Reward functions: a rule that compares with the right answer, a reward model of part 7, or a
//! random reward as a control.

use anyhow::{Result, ensure};
use candle_core::Device;
use datasets::Example;
use experiment::train_state::parameters_sha256;
use model_io::LoadMode;
use reward::RewardCheckpoint;
use sft::ChatTokenizer;
use sft::metrics::exact_match;
use tensor_core::Rng;

use crate::final_answer::final_answer_reward;

/// Completion to be rewarded, with its example.
#[derive(Debug, Clone, Copy)]
pub struct RewardInput<'a> {
    /// Prompt, and the right completion if there is one.
    pub example: &'a Example,
    /// Text of the completion.
    pub completion: &'a str,
    /// Whether it ended with a stop token, so was not truncated.
    pub terminated: bool,
}

/// Reward function: one reward per input; randomness comes from the given stream.
pub type RewardFn = dyn FnMut(&[RewardInput<'_>], &mut Rng) -> Result<Vec<f64>>;

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

/// Exact-match reward: 1 for a terminated completion that equals the right one, else 0.
pub fn exact_match_reward(input: &RewardInput<'_>) -> f64 {
    let right = input.terminated && exact_match(input.completion, &input.example.completion);
    f64::from(u8::from(right))
}

/// Reward function of [`exact_match_reward`].
pub fn exact_match_reward_fn() -> Box<RewardFn> {
    Box::new(|inputs, _| Ok(inputs.iter().map(exact_match_reward).collect()))
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

/// Reward function with a name that identifies it on resume.
pub struct NamedRewardFn {
    /// Reward function.
    pub reward_fn: Box<RewardFn>,
    /// Name of a rule, or hash of a reward model's weights.
    pub name: String,
}

/// Reward function of the reward model at `source`, and the flag of [`reward_model_fn`].
///
/// # Errors
/// When there is no such reward model.
pub fn open_reward_model(
    source: &str,
    policy: &ChatTokenizer,
    batch_size: usize,
    device: &Device,
) -> Result<(NamedRewardFn, bool)> {
    let model = RewardCheckpoint::open(source, LoadMode::Inference, device)?;
    let name = parameters_sha256(model.parameters.iter())?;
    let name = format!("{name} {:?}", model.normalization);
    let (reward_fn, other) = reward_model_fn(model, policy, batch_size);
    Ok((NamedRewardFn { reward_fn, name }, other))
}

/// Reward function of a reward model: normalized rewards, `batch_size` texts at a time. The model
/// reads text through its own template and tokenizer; the second result is whether that tokenizer
/// differs from the policy's.
pub fn reward_model_fn(
    model: RewardCheckpoint,
    policy: &ChatTokenizer,
    batch_size: usize,
) -> (Box<RewardFn>, bool) {
    let other = !model.chat_tokenizer.tokenizer.has_same_vocab(&policy.tokenizer);
    let rewards = move |inputs: &[RewardInput<'_>], _: &mut Rng| {
        let tokens =
            |input: &RewardInput<'_>| model.tokenize(&input.example.prompt, input.completion);
        let texts: Vec<Vec<u32>> = inputs.iter().map(tokens).collect::<Result<_>>()?;
        model.rewards(&texts, batch_size)
    };
    (Box::new(rewards), other)
}
