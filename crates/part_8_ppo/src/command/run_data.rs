//! Prompts of a run: training, validation and the PTX examples.

use std::num::NonZeroUsize;

use anyhow::{Result, ensure};
use datasets::arithmetic_questions::DemonstrationStyle;
use datasets::{Example, SplitRule, Splits};
use experiment::RunSetup;
use sft::run_split::split_of_run;
use sft::{ChatTokenizer, MappedSource, RunSplit, tokenize};
use tensor_core::sha256;

use super::arguments::TrainArgs;
use crate::{PromptExample, PtxLoss};

/// Prompts and PTX examples of a run.
pub(super) struct RunData {
    pub(super) train: Vec<PromptExample>,
    pub(super) validation: Vec<PromptExample>,
    pub(super) ptx_loss: Option<PtxLoss>,
    pub(super) n_dropped: usize,
    /// Training prompts that repeat another.
    pub(super) n_repeated: usize,
    /// Rule of the split; `None` for the arithmetic task.
    pub(super) split_rule: Option<SplitRule>,
}

/// Prompts that leave room for a completion.
pub(super) fn load_run_data(
    args: &TrainArgs,
    chat_tokenizer: &ChatTokenizer,
    max_new_tokens: usize,
    context_len: usize,
    setup: &RunSetup<'_>,
) -> Result<RunData> {
    let seed = args.run.compute.seed;
    let source = args.reward_fn.open_prompts(&args.data)?;
    let (mut examples, split_rule) = load_examples(args, &source, setup)?;
    let n_repeated = if args.data.data == "arithmetic" { 0 } else { examples.n_repeated() };
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
    let n_dropped = n_dropped + more;
    Ok(RunData { train, validation, ptx_loss, n_dropped, n_repeated, split_rule })
}

/// Training and validation examples of `source`, and the rule of their split. For arithmetic the
/// right completion is the bare number, whatever style the policy was fine-tuned on. A new run
/// holds out the rows that the run of its model held out of the same data.
fn load_examples(
    args: &TrainArgs,
    source: &MappedSource,
    setup: &RunSetup<'_>,
) -> Result<(Splits<Example>, Option<SplitRule>)> {
    let (seed, model) = (args.run.compute.seed, args.model.model.as_deref());
    let resumed = setup.is_resumed.then_some(setup.out);
    let sft_split = RunSplit::find(model, &args.data.data, &args.data.dataset)?;
    let default = args.examples.split_spec(seed);
    let split_spec = split_of_run(resumed, args.given_split(), sft_split.as_ref(), default)?;
    let style = DemonstrationStyle::Clean;
    let (examples, rule) = args.examples.load_dataset(source, style, split_spec, seed)?;
    if let Some(sft_split) = sft_split {
        sft_split.warn_of_learned(&examples.validation);
    }
    Ok((examples, rule))
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
