//! Prompts of a run: training, validation and the PTX examples.

use std::num::NonZeroUsize;

use anyhow::{Result, ensure};
use datasets::SplitRule;
use datasets::arithmetic_questions::DemonstrationStyle;
use sft::{ChatTokenizer, tokenize};
use tensor_core::sha256;

use super::arguments::TrainArgs;
use crate::{PromptExample, PtxLoss};

/// Prompts and PTX examples of a run.
pub(super) struct RunData {
    pub(super) train: Vec<PromptExample>,
    pub(super) validation: Vec<PromptExample>,
    pub(super) ptx_loss: Option<PtxLoss>,
    pub(super) n_dropped: usize,
    /// Rule of the split into training and validation; `None` for the arithmetic task.
    pub(super) split_rule: Option<SplitRule>,
}

/// Prompts that leave room for a completion. For arithmetic the right completion is the bare
/// number, whatever style the policy was fine-tuned on.
pub(super) fn load_run_data(
    args: &TrainArgs,
    chat_tokenizer: &ChatTokenizer,
    max_new_tokens: usize,
    context_len: usize,
) -> Result<RunData> {
    let seed = args.run.compute.seed;
    let source = args.reward_fn.open_prompts(&args.data)?;
    let mut examples = args.examples.load_dataset(&source, DemonstrationStyle::Clean, seed)?;
    let split_rule = args.examples.split_rule(&source, &examples, seed);
    args.prompts.format(&mut examples.train)?;
    args.prompts.format(&mut examples.validation)?;
    for split in [&examples.train, &examples.validation] {
        args.reward_fn.check_answers(&args.data.data, split)?;
    }
    let ptx_coef = args.objective.ptx_coef;
    let ptx_loss = match ptx_coef > 0. {
        true => {
            let n_inputs = args
                .prompts
                .max_prompt_length
                .map_or(context_len, |n| context_len.min(n.get() + max_new_tokens));
            let examples = tokenize(&examples.train, chat_tokenizer, n_inputs)?.examples;
            ensure!(!examples.is_empty(), "no PTX example fits into {n_inputs} tokens");
            Some(PtxLoss::new(examples, ptx_coef, args.batch_size(), seed))
        }
        false => None,
    };
    let tokenize_prompts =
        |examples| args.prompts.tokenize(examples, chat_tokenizer, context_len, max_new_tokens);
    let (mut train, n_dropped) = tokenize_prompts(examples.train)?;
    let (mut validation, more) = tokenize_prompts(examples.validation)?;
    train.truncate(args.max_train_samples.map_or(usize::MAX, NonZeroUsize::get));
    validation.truncate(args.eval_examples.get());
    Ok(RunData { train, validation, ptx_loss, n_dropped: n_dropped + more, split_rule })
}

impl RunData {
    /// Hash of the training prompts, their right completions and tests, so that a checkpoint is not
    /// continued with other data.
    pub(super) fn sha256(&self) -> String {
        let sequences = self.train.iter().flat_map(|PromptExample { example, prompt }| {
            let answer = example.completion.clone() + &example.tests.concat();
            [prompt.clone(), answer.bytes().map(u32::from).collect()]
        });
        sha256::hash_token_sequences(sequences.collect::<Vec<Vec<u32>>>().iter())
    }
}
