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

/// Reward function of the reward model at `source`, which counts in `counter`. `variables` are the
/// chat variables of the run, in place of those that the run of the reward model lacks. Prints a
/// note if its tokenizer is not that of the `policy`.
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
) -> Result<NamedRewardFn> {
    let model = RewardCheckpoint::open_for_run(source, LoadMode::Inference, variables, device)?;
    if let Some(note) = tokenizer_note(source, &model.chat_tokenizer, policy) {
        println!("{note}");
    }
    let name = parameters_sha256(&model.parameters)?;
    let name = format!("{name} {:?}", model.normalization);
    let reward_fn = reward_model_fn(model, batch_size, counter.clone());
    Ok(NamedRewardFn { counter, ..NamedRewardFn::new(reward_fn, name) })
}

/// Note that the reward model `source` has another tokenizer than the `policy`; `None` if it has
/// the same.
pub(crate) fn tokenizer_note(
    source: &str,
    own: &ChatTokenizer,
    policy: &ChatTokenizer,
) -> Option<String> {
    (!own.tokenizer.has_same_vocab(&policy.tokenizer)).then(|| {
        format!(
            "{source} has another tokenizer than the policy: completions are tokenized again for it"
        )
    })
}

/// Reward function of a reward model: normalized rewards, `batch_size` texts at a time. The model
/// reads text through its own template and tokenizer, the end of it if it is longer than the
/// context, which `counter` counts.
pub fn reward_model_fn(
    model: RewardCheckpoint,
    batch_size: usize,
    counter: ScoringCounter,
) -> Box<RewardFn> {
    Box::new(move |inputs: &[RewardInput<'_>], _: &mut Rng| {
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
    })
}
