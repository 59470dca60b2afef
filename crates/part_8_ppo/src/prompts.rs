//! 8.3 Prompts: a set that is shuffled anew for each epoch.
//!
//! The prompts of a step follow from the seed and the step alone, so a resumed run uses the same
//! ones as an uninterrupted run, and no prompt is used twice in an epoch.

use std::num::NonZeroUsize;
use std::str::FromStr;

use anyhow::{Result, bail, ensure};
use datasets::Example;
use serde::Serialize;
use sft::ChatTokenizer;
use tensor_core::Rng;

/// Prompt for the policy, tokenized.
#[derive(Debug, Clone)]
pub struct PromptExample {
    /// Messages of the prompt, and the right completion if there is one.
    pub example: Example,
    /// Token ids of the prompt.
    pub prompt: Vec<u32>,
}

/// Text of a prompt with a place for its question: `Question: {question}⏎Answer:`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PromptFormat(String);

const QUESTION: &str = "{question}";

impl FromStr for PromptFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.matches(QUESTION).count() {
            1 => Ok(Self(text.to_string())),
            n => Err(format!("has {QUESTION} {n} times, and needs it once")),
        }
    }
}

impl PromptFormat {
    /// Makes this text with the question of `example` its prompt, without a system prompt.
    ///
    /// # Errors
    /// When the prompt has several turns.
    pub fn apply(&self, example: &mut Example) -> Result<()> {
        example.prompt.retain(|message| message.role != "system");
        let [question] = &mut example.prompt[..] else {
            bail!("--prompt-format is for questions, and a row has a conversation");
        };
        question.content = self.0.replace(QUESTION, &question.content);
        Ok(())
    }
}

/// Loader of prompts in shuffled order, a new order for each epoch.
#[derive(Debug)]
pub struct PromptLoader {
    examples: Vec<PromptExample>,
    seed: u64,
    /// Current epoch.
    epoch: usize,
    /// Its order of the prompts.
    order: Vec<usize>,
}

/// Tokenized prompts of `examples`, and the number of examples dropped because their prompt leaves
/// fewer than `max_new_tokens` tokens of the context.
///
/// # Errors
/// When all are dropped.
pub fn tokenize_prompts(
    examples: Vec<Example>,
    chat_tokenizer: &ChatTokenizer,
    context_len: usize,
    max_new_tokens: usize,
) -> Result<(Vec<PromptExample>, usize)> {
    let (mut prompts, mut n_dropped) = (Vec::new(), 0);
    for example in examples {
        let prompt = chat_tokenizer.encode_prompt(&example.prompt)?;
        match prompt.len() + max_new_tokens <= context_len {
            true => prompts.push(PromptExample { example, prompt }),
            false => n_dropped += 1,
        }
    }
    ensure!(
        !prompts.is_empty(),
        "no prompt leaves room for {max_new_tokens} more tokens (--max-new-tokens) in the model's \
         context of {context_len}"
    );
    Ok((prompts, n_dropped))
}

/// The `tokenized` prompts of at most `max_length` tokens, and the number of dropped ones.
///
/// # Errors
/// When all are dropped.
pub fn limit_length(
    tokenized: (Vec<PromptExample>, usize),
    max_length: Option<NonZeroUsize>,
) -> Result<(Vec<PromptExample>, usize)> {
    let (mut prompts, mut n_dropped) = tokenized;
    if let Some(longest) = max_length {
        let n = prompts.len();
        prompts.retain(|example| example.prompt.len() <= longest.get());
        n_dropped += n - prompts.len();
        ensure!(!prompts.is_empty(), "all prompts are longer than {longest} tokens");
    }
    Ok((prompts, n_dropped))
}

/// Token ids of each of `prompts`.
pub fn prompt_ids(prompts: &[PromptExample]) -> Vec<Vec<u32>> {
    prompts.iter().map(|example| example.prompt.clone()).collect()
}

impl PromptLoader {
    /// Loader of `examples` in an order that follows from `seed`.
    ///
    /// # Errors
    /// When there are no examples.
    pub fn new(examples: Vec<PromptExample>, seed: u64) -> Result<Self> {
        ensure!(!examples.is_empty(), "there is no prompt");
        let order = shuffled_order(examples.len(), seed, 0);
        Ok(Self { examples, seed, epoch: 0, order })
    }

    /// The `n` prompts of step `step`; steps count from 1.
    pub fn batch(&mut self, step: usize, n: usize) -> Vec<PromptExample> {
        let n_examples = self.examples.len();
        let mut batch = Vec::with_capacity(n);
        for number in (step - 1) * n..step * n {
            let (epoch, position) = (number / n_examples, number % n_examples);
            if self.epoch != epoch {
                self.order = shuffled_order(n_examples, self.seed, epoch);
                self.epoch = epoch;
            }
            batch.push(self.examples[self.order[position]].clone());
        }
        batch
    }
}

/// Order of the prompts in `epoch`.
fn shuffled_order(n: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    step_rng(seed, epoch << 32).shuffle(&mut order); // a stream that no step uses
    order
}

/// Random stream of a step. It follows from the run's seed and the step, so a resumed run needs
/// only the step.
pub fn step_rng(seed: u64, step: usize) -> Rng {
    Rng::of_index(seed, step as u64)
}
