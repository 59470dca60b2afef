//! 8.4 Scorers: what a response is worth. A rule that knows the answer, a reward model of part 7, or chance, to compare with.

use anyhow::{Result, ensure};
use candle_core::Device;
use modern::LoadMode;
use reward::RewardCheckpoint;
use sft::metrics::exact_match;
use sft::train_state::parameters_sha256;
use sft::{ChatTokenizer, Example};
use tensor_core::Rng;

use crate::final_answer::final_answer_reward;

/// A response to be scored.
#[derive(Debug, Clone, Copy)]
pub struct RewardInput<'a> {
    /// What was asked, and the answer that is wanted, if there is one.
    pub example: &'a Example,
    /// What was answered.
    pub completion: &'a str,
    /// Whether it ended itself, and was not cut off.
    pub terminated: bool,
}

/// A score for each of the replies; what is drawn for it comes from the stream.
pub type RewardFn = dyn FnMut(&[RewardInput<'_>], &mut Rng) -> Result<Vec<f64>>;

/// What `scorer` gives each of `replies`.
///
/// # Errors
/// Those of `scorer`, or when it does not give a score to each.
pub(crate) fn call_reward_fn(
    scorer: &mut RewardFn,
    replies: &[RewardInput<'_>],
    rng: &mut Rng,
) -> Result<Vec<f64>> {
    let scores = scorer(replies, rng)?;
    let (n, given) = (replies.len(), scores.len());
    ensure!(given == n, "the scorer gave {given} scores to {n} responses");
    Ok(scores)
}

/// 1 for the wanted answer and nothing else, ended; else 0.
pub fn exact_match_reward(reply: &RewardInput<'_>) -> f64 {
    let right = reply.terminated && exact_match(reply.completion, &reply.example.completion);
    f64::from(u8::from(right))
}

/// Scores by [`exact_score`].
pub fn exact_match_reward_fn() -> Box<RewardFn> {
    Box::new(|replies, _| Ok(replies.iter().map(exact_match_reward).collect()))
}

/// Scores by the [final answer](crate::final_answer::final_answer), with `credit` for a wrong number.
pub fn final_answer_reward_fn(credit: f64) -> Box<RewardFn> {
    let score = move |reply: &RewardInput<'_>| {
        final_answer_reward(reply.completion, &reply.example.completion, credit)
    };
    Box::new(move |replies, _| Ok(replies.iter().map(score).collect()))
}

/// Scores 1 or 0 by chance: what is learned from it is what the algorithm does by itself.
pub fn random_reward_fn() -> Box<RewardFn> {
    Box::new(|replies, rng| Ok(replies.iter().map(|_| rng.below(2) as f64).collect()))
}

/// A scorer, and its name.
pub struct NamedRewardFn {
    /// Who scores.
    pub reward_fn: Box<RewardFn>,
    /// Names it by what it is: a rule as the user does, a reward model by its weights.
    pub name: String,
}

/// The judge that the reward model `source` is, as [`reward_model_of`].
///
/// # Errors
/// When there is none.
pub fn open_reward_model(
    source: &str,
    policy: &ChatTokenizer,
    batch_size: usize,
    device: &Device,
) -> Result<(NamedRewardFn, bool)> {
    let model = RewardCheckpoint::open(source, LoadMode::Inference, device)?;
    let name = parameters_sha256(model.parameters.iter())?;
    let name = format!("{name} {:?}", model.normalization);
    let (scorer, other) = reward_model_fn(model, policy, batch_size);
    Ok((NamedRewardFn { reward_fn: scorer, name }, other))
}

/// Scores by a reward model, normalised, `batch_size` texts at a time. It reads text, in its own template and tokens; the second result
/// is whether these are others than the policy's.
pub fn reward_model_fn(
    model: RewardCheckpoint,
    policy: &ChatTokenizer,
    batch_size: usize,
) -> (Box<RewardFn>, bool) {
    let other = !model.chat_tokenizer.tokenizer.has_same_vocab(&policy.tokenizer);
    let score = move |replies: &[RewardInput<'_>], _: &mut Rng| {
        let tokens =
            |reply: &RewardInput<'_>| model.tokenize(&reply.example.prompt, reply.completion);
        let texts: Vec<Vec<u32>> = replies.iter().map(tokens).collect::<Result<_>>()?;
        model.rewards(&texts, batch_size)
    };
    (Box::new(score), other)
}
