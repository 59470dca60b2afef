//! What a run asks, and what it looks at.

use anyhow::{Result, ensure};
use scaling::sha256;
use sft::arithmetic_questions::DemonstrationStyle;
use sft::{ChatTokenizer, tokenize};

use super::arguments::TrainArgs;
use crate::{CompletionEvalConfig, PpoValidator, PromptExample, PtxLoss, prompts};

/// What a run asks, and what it mixes in.
pub(super) struct RunData {
    pub(super) train: Vec<PromptExample>,
    pub(super) validation: Vec<PromptExample>,
    pub(super) ptx_loss: Option<PtxLoss>,
    pub(super) n_dropped: usize,
}

/// Questions whose prompt leaves room for an answer; those of arithmetic want the bare number, however a policy was shown to give it.
pub(super) fn load_run_data(
    args: &TrainArgs,
    speech: &ChatTokenizer,
    context: usize,
) -> Result<RunData> {
    let examples =
        args.examples.load_dataset(&args.data, DemonstrationStyle::Clean, args.run.compute.seed)?;
    let room = args.rollout.max_new_tokens_or(args.data.default_max_new_tokens());
    let (coefficient, seed) = (args.objective.ptx_coef, args.run.compute.seed);
    let mix = match coefficient > 0. {
        true => {
            let mixed = tokenize(&examples.train, speech, context)?.examples;
            ensure!(!mixed.is_empty(), "no example to mix in fits into {context} tokens");
            Some(PtxLoss::new(mixed, coefficient, args.step.batch_size.get(), seed))
        }
        false => None,
    };
    let (train, left_out) = prompts::tokenize_prompts(examples.train, speech, context, room)?;
    let (mut validation, more) =
        prompts::tokenize_prompts(examples.validation, speech, context, room)?;
    validation.truncate(args.eval.eval_examples.get());
    Ok(RunData { train, validation, ptx_loss: mix, n_dropped: left_out + more })
}

impl RunData {
    /// A name that follows from what is asked and what is wanted, so that a checkpoint is not continued with something else.
    pub(super) fn sha256(&self) -> String {
        let wanted = |one: &PromptExample| one.example.completion.bytes().map(u32::from).collect();
        let each = self.train.iter().flat_map(|one| [one.prompt.clone(), wanted(one)]);
        sha256::hash_token_sequences(each.collect::<Vec<Vec<u32>>>().iter())
    }
}

/// How `questions` are looked at.
pub(super) fn validator<'a>(
    args: &TrainArgs,
    questions: &'a [PromptExample],
    speech: &'a ChatTokenizer,
) -> PpoValidator<'a> {
    PpoValidator {
        prompts: questions,
        eval_config: CompletionEvalConfig {
            chat_tokenizer: speech,
            max_new_tokens: args.rollout.max_new_tokens_or(args.data.default_max_new_tokens()),
            batch_size: 100,
        },
        interval: args.eval.eval_interval,
        target_reward: args.target_reward,
    }
}
