//! 8.5 A reward model of part 7 as a reward function.

use anyhow::Result;
use candle_core::Device;
use experiment::train_state::parameters_sha256;
use model_io::{ChatVariables, LoadMode};
use reward::RewardCheckpoint;
use sft::ChatTokenizer;
use tensor_core::Rng;

use crate::reward_fn::{NamedRewardFn, RewardFn, RewardInput};
use crate::scoring_counter::ScoringCounter;

/// Tokenizer of a reward model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RewardTokenizer {
    /// It has the vocabulary of the policy's.
    OfPolicy,
    /// It has another one, so completions are tokenized again.
    Other,
}

/// Reward function of the reward model at `source`, which counts in `counter`, and its tokenizer.
/// `variables` are the chat variables of the run, in place of those that the run of the reward
/// model lacks.
///
/// # Errors
/// When there is no such reward model.
pub fn open_reward_model(
    source: &str,
    policy: &ChatTokenizer,
    batch_size: usize,
    variables: &ChatVariables,
    device: &Device,
    counter: ScoringCounter,
) -> Result<(NamedRewardFn, RewardTokenizer)> {
    let model = RewardCheckpoint::open_for_run(source, LoadMode::Inference, variables, device)?;
    let name = parameters_sha256(&model.parameters)?;
    let name = format!("{name} {:?}", model.normalization);
    let (reward_fn, tokenizer) = reward_model_fn(model, policy, batch_size, counter.clone());
    Ok((NamedRewardFn { counter, ..NamedRewardFn::new(reward_fn, name) }, tokenizer))
}

/// Reward function of a reward model, and its tokenizer: normalized rewards, `batch_size` texts at
/// a time. The model reads text through its own template and tokenizer, the end of it if it is
/// longer than the context, which `counter` counts.
pub fn reward_model_fn(
    model: RewardCheckpoint,
    policy: &ChatTokenizer,
    batch_size: usize,
    counter: ScoringCounter,
) -> (Box<RewardFn>, RewardTokenizer) {
    let tokenizer = match model.chat_tokenizer.tokenizer.has_same_vocab(&policy.tokenizer) {
        true => RewardTokenizer::OfPolicy,
        false => RewardTokenizer::Other,
    };
    let rewards = move |inputs: &[RewardInput<'_>], _: &mut Rng| {
        let tokens = |input: &RewardInput<'_>| {
            let (prompt, completion) = (&input.example.prompt, input.completion);
            match input.terminated() {
                true => model.tokenize(prompt, completion),
                false => model.tokenize_truncated(prompt, completion),
            }
        };
        let mut texts: Vec<Vec<u32>> = inputs.iter().map(tokens).collect::<Result<_>>()?;
        counter.add(texts.len(), model.truncate_to_context(&mut texts));
        model.rewards(&texts, batch_size)
    };
    (Box::new(rewards), tokenizer)
}
