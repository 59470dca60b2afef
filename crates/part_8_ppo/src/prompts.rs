//! 8.2 Prompts: a set that is shuffled and gone through again and again.
//!
//! Which prompts a step gets follows from the seed and the step alone, so a resumed run asks what an uninterrupted one would
//! have asked, and no prompt is asked twice before all were asked once.

use anyhow::{Result, ensure};
use sft::{ChatTokenizer, Example};
use tensor_core::Rng;

/// A question that a policy is asked.
#[derive(Debug, Clone)]
pub struct PromptExample {
    /// What was said, and the answer that is wanted, if there is one.
    pub example: Example,
    /// What was said, as tokens.
    pub prompt: Vec<u32>,
}

/// Questions in shuffled order, an order for each time through.
#[derive(Debug)]
pub struct PromptLoader {
    examples: Vec<PromptExample>,
    seed: u64,
    /// A time through, and its order.
    epoch_order: (usize, Vec<usize>),
}

/// The questions of `examples`; those whose prompt leaves no room for `room` more tokens in the context are left out, and
/// counted.
///
/// # Errors
/// When none is left.
pub fn tokenize_prompts(
    examples: Vec<Example>,
    speech: &ChatTokenizer,
    context: usize,
    room: usize,
) -> Result<(Vec<PromptExample>, usize)> {
    let (mut fitting, mut left_out) = (Vec::new(), 0);
    for example in examples {
        let prompt = speech.encode_prompt(&example.prompt)?;
        match prompt.len() + room <= context {
            true => fitting.push(PromptExample { example, prompt }),
            false => left_out += 1,
        }
    }
    ensure!(
        !fitting.is_empty(),
        "no prompt leaves room for {room} more tokens in the model's context of {context}"
    );
    Ok((fitting, left_out))
}

impl PromptLoader {
    /// These, in an order that follows from `seed`.
    ///
    /// # Errors
    /// When there are none.
    pub fn new(questions: Vec<PromptExample>, seed: u64) -> Result<Self> {
        ensure!(!questions.is_empty(), "there is no prompt");
        let order = (0, shuffled_order(questions.len(), seed, 0));
        Ok(Self { examples: questions, seed, epoch_order: order })
    }

    /// The `n` questions of step `step`, counted from 1.
    pub fn batch(&mut self, step: usize, n: usize) -> Vec<PromptExample> {
        let first = (step - 1) * n;
        let all = self.examples.len();
        let mut chosen = Vec::with_capacity(n);
        for number in first..first + n {
            if self.epoch_order.0 != number / all {
                self.epoch_order = (number / all, shuffled_order(all, self.seed, number / all));
            }
            chosen.push(self.examples[self.epoch_order.1[number % all]].clone());
        }
        chosen
    }
}

/// The order of time `epoch` through.
fn shuffled_order(n: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    step_rng(seed, epoch << 32).shuffle(&mut order); // no step's own stream
    order
}

/// The random stream of step `step` of a run: it follows from both, so a resumed run needs no more than the step.
pub fn step_rng(seed: u64, step: usize) -> Rng {
    Rng::new(seed ^ (step as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)) // apart for every step
}
