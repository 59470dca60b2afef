//! What a step learns from: prompts, a group of completions to each, what they earned, and how that compares.

use anyhow::{Result, bail};
use modern::GptModern;
use ppo::experience::{not_a_number, scores, texts};
use ppo::{Group, Question, RolloutConfig, Scorer, rollout};
use sft::Speech;
use tensor_core::Rng;

use crate::{Advantages, Aggregation, Baseline, Overlong, advantages};

/// How completions are judged and weighed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
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
    /// At which temperature; a loss is computed at the same.
    pub temperature: f64,
    /// The same as text.
    pub texts: Vec<String>,
    /// What it earned.
    pub rewards: Vec<f32>,
    /// How that compares.
    pub advantages: Advantages,
    /// The weight of each of its tokens.
    pub weights: Vec<f32>,
}

/// Lets `model`, an inference twin, answer `questions`, and `scorer` judge what it says.
///
/// # Errors
/// When a prompt leaves no room in the context, and those of `scorer`.
pub fn gather(
    model: &GptModern,
    (speech, scorer): (&Speech, &mut Scorer),
    questions: &[Question],
    (config, judgement): (&RolloutConfig, &Judgement),
    rng: &mut Rng,
) -> Result<Experience> {
    let prompts: Vec<Vec<u32>> = questions.iter().map(|question| question.prompt.clone()).collect();
    let groups = rollout(model, &prompts, config, rng)?;
    let texts = texts(&groups, speech)?;
    let scores = scores(&groups, questions, &texts, scorer, rng)?;
    judged(groups, texts, scores, config, judgement)
}

/// What `groups`, drawn by `config`, which said `texts` and got `scores`, are worth.
///
/// # Errors
/// When a score is not a number: what was said is named.
pub fn judged(
    groups: Vec<Group>,
    texts: Vec<String>,
    scores: Vec<f64>,
    config: &RolloutConfig,
    judgement: &Judgement,
) -> Result<Experience> {
    if let Some(problem) = not_a_number(&scores, &texts) {
        bail!(problem);
    }
    let budget = config.max_new_tokens;
    let responses: Vec<_> = groups.iter().flat_map(|group| &group.responses).collect();
    let paid = |(score, response): (f64, &&ppo::Response)| {
        score as f32 - judgement.overlong.penalty(response.tokens.len(), budget)
    };
    let rewards: Vec<f32> = scores.into_iter().zip(&responses).map(paid).collect();
    let lengths: Vec<usize> = responses.iter().map(|response| response.tokens.len()).collect();
    let masked = judgement.overlong == Overlong::Masked;
    let takes_part: Vec<bool> = responses.iter().map(|r| r.ended() || !masked).collect();
    let weights = judgement.aggregation.weights(&lengths, &takes_part, budget);
    let advantages = advantages(&rewards, config.samples, judgement.baseline, judgement.epsilon)?;
    let temperature = config.temperature();
    Ok(Experience { groups, temperature, texts, rewards, advantages, weights })
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
