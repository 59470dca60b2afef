//! What a step learns from: prompts, a group of completions to each, what they earned, and how that compares.

use anyhow::{Result, bail};
use modern::{GptModern, Markers};
use ppo::{Group, Question, RolloutConfig, rollout};
use sft::Speech;
use tensor_core::Rng;

use crate::{Advantages, Aggregation, Baseline, Judge, Overlong, advantages};

/// How completions are judged and weighed.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// What they earn.
    pub judge: Judge,
    /// What becomes of those that were cut.
    pub overlong: Overlong,
    /// What a reward is compared with.
    pub baseline: Baseline,
    /// ε beside the standard deviation.
    pub epsilon: f64,
    /// How much each token counts.
    pub aggregation: Aggregation,
}

/// What was drawn in a step, and what it was worth. All but `groups` is by completion, group by group.
#[derive(Debug, Clone)]
pub struct Experience {
    /// What was written.
    pub groups: Vec<Group>,
    /// The same as text.
    pub texts: Vec<String>,
    /// What it earned.
    pub rewards: Vec<f32>,
    /// How that compares.
    pub advantages: Advantages,
    /// The weight of each of its tokens.
    pub weights: Vec<f32>,
}

/// Lets `model`, an inference twin, answer `questions`, and judges what it says.
///
/// # Errors
/// When a prompt leaves no room in the context, or a reward is not a number.
pub fn gather(
    model: &GptModern,
    speech: &Speech,
    questions: &[Question],
    (config, judgement): (&RolloutConfig, &Judgement),
    rng: &mut Rng,
) -> Result<Experience> {
    let prompts: Vec<Vec<u32>> = questions.iter().map(|question| question.prompt.clone()).collect();
    let groups = rollout(model, &prompts, config, rng)?;
    let mut texts = Vec::new();
    for response in groups.iter().flat_map(|group| &group.responses) {
        texts.push(speech.tokenizer.decode(&response.tokens, Markers::Hidden)?);
    }
    judged(groups, texts, questions, (config, judgement), rng)
}

/// What `groups`, which say `texts` to `questions`, are worth.
///
/// # Errors
/// When a reward is not a number: the question is named.
pub fn judged(
    groups: Vec<Group>,
    texts: Vec<String>,
    questions: &[Question],
    (config, judgement): (&RolloutConfig, &Judgement),
    rng: &mut Rng,
) -> Result<Experience> {
    let budget = config.max_new_tokens;
    let responses: Vec<_> = groups.iter().flat_map(|group| &group.responses).collect();
    let mut rewards = Vec::with_capacity(texts.len());
    for (at, (text, response)) in texts.iter().zip(&responses).enumerate() {
        let example = &questions[at / config.samples].example;
        let earned = judgement.judge.reward(example, text, rng)
            - judgement.overlong.penalty(response.tokens.len(), budget);
        if !earned.is_finite() {
            let asked = example.prompt.last().map_or("", |message| &message.content);
            bail!("the reward of `{text}` as an answer to `{asked}` is {earned}");
        }
        rewards.push(earned);
    }
    let lengths: Vec<usize> = responses.iter().map(|response| response.tokens.len()).collect();
    let masked = judgement.overlong == Overlong::Masked;
    let takes_part: Vec<bool> = responses.iter().map(|r| r.ended() || !masked).collect();
    let weights = judgement.aggregation.weights(&lengths, &takes_part, budget);
    let advantages = advantages(&rewards, config.samples, judgement.baseline, judgement.epsilon)?;
    Ok(Experience { groups, texts, rewards, advantages, weights })
}

impl Experience {
    /// Whether the completions of group `group` are worth different things, and so say which of them is better.
    pub fn has_signal(&self, group: usize) -> bool {
        let n = self.rewards.len() / self.groups.len().max(1);
        self.advantages.values[group * n..][..n].iter().any(|advantage| *advantage != 0.)
    }

    /// Tokens that were written.
    pub fn tokens(&self) -> usize {
        self.groups.iter().flat_map(|group| &group.responses).map(|r| r.tokens.len()).sum()
    }
}
