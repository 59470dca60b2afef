//! What a step learns from: prompts, a group of completions to each, what they earned, and how that compares.

use anyhow::Result;
use modern::GptModern;
use ppo::experience::{ScoredRollouts, compute_rewards, decode_completions};
use ppo::{PromptExample, RewardFn, RolloutConfig, RolloutGroup, rollout};
use sft::ChatTokenizer;
use tensor_core::Rng;

use crate::{Aggregation, Baseline, Overlong, advantages};

/// How completions are judged and weighed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdvantageConfig {
    /// What becomes of those that were cut.
    pub overlong: Overlong,
    /// What a reward is compared with.
    pub baseline: Baseline,
    /// ε beside the standard deviation.
    pub advantage_epsilon: f64,
    /// How much each token counts.
    pub loss_aggregation: Aggregation,
}

impl AdvantageConfig {
    /// The usual one: GRPO's advantages, every token the same, what was cut scored as it stands.
    pub fn with_defaults() -> Self {
        Self {
            overlong: Overlong::None,
            baseline: Baseline::GroupStd,
            advantage_epsilon: 1e-4,
            loss_aggregation: Aggregation::Token,
        }
    }
}

/// What was drawn in a step, and what it was worth. All but `groups` is by completion, group by group.
#[derive(Debug, Clone)]
pub struct GrpoExperience {
    /// What was written.
    pub groups: Vec<RolloutGroup>,
    /// At which temperature; a loss is computed at the same.
    pub temperature: f64,
    /// The same as text.
    pub completion_texts: Vec<String>,
    /// What it earned.
    pub rewards: Vec<f32>,
    /// How that compares.
    pub advantages: Vec<f32>,
    /// The weight of each of its tokens.
    pub weights: Vec<f32>,
}

/// Lets `model`, an inference twin, answer `questions`, and `scorer` judge what it says.
///
/// # Errors
/// When a prompt leaves no room in the context, and those of `scorer`.
pub fn collect_rollouts(
    model: &GptModern,
    (speech, scorer): (&ChatTokenizer, &mut RewardFn),
    questions: &[PromptExample],
    config: &RolloutConfig,
    rng: &mut Rng,
) -> Result<ScoredRollouts> {
    let prompts: Vec<Vec<u32>> = questions.iter().map(|question| question.prompt.clone()).collect();
    let groups = rollout(model, &prompts, config, rng)?;
    let texts = decode_completions(&groups, speech)?;
    let scores = compute_rewards(&groups, questions, &texts, scorer, rng)?;
    Ok(ScoredRollouts { groups, completion_texts: texts, rewards: scores })
}

impl GrpoExperience {
    /// What the completions that were `judged`, drawn by `config`, are worth.
    ///
    /// # Errors
    /// When a score is not a number, or a group has fewer than two completions.
    pub fn from_rollouts(
        judged: ScoredRollouts,
        config: &RolloutConfig,
        judgement: &AdvantageConfig,
    ) -> Result<Self> {
        let ScoredRollouts { groups, completion_texts: texts, rewards: scores } = judged;
        let budget = config.max_new_tokens;
        let responses: Vec<_> = groups.iter().flat_map(|group| &group.completions).collect();
        let paid = |(score, response): (f64, &&ppo::SampledCompletion)| {
            score as f32 - judgement.overlong.penalty(response.tokens.len(), budget)
        };
        let rewards: Vec<f32> = scores.into_iter().zip(&responses).map(paid).collect();
        let lengths: Vec<usize> = responses.iter().map(|response| response.tokens.len()).collect();
        let masked = judgement.overlong == Overlong::Masked;
        let takes_part: Vec<bool> = responses.iter().map(|r| r.terminated() || !masked).collect();
        let weights = judgement.loss_aggregation.weights(&lengths, &takes_part, budget);
        let advantages = advantages(
            &rewards,
            config.group_size,
            judgement.baseline,
            judgement.advantage_epsilon,
        )?;
        let temperature = config.temperature();
        Ok(Self { groups, temperature, completion_texts: texts, rewards, advantages, weights })
    }

    /// Whether the completions of group `group` that take part say which of them is better.
    pub fn has_nonzero_advantage(&self, group: usize) -> bool {
        self.advantages_and_weights(group).any(|(advantage, weight)| advantage * weight != 0.)
    }

    /// Whether any completion of group `group` takes part.
    pub fn is_included(&self, group: usize) -> bool {
        self.advantages_and_weights(group).any(|(_, weight)| weight != 0.)
    }

    /// Advantage and weight of each completion of group `group`.
    fn advantages_and_weights(&self, group: usize) -> impl Iterator<Item = (f32, f32)> {
        let n = self.rewards.len() / self.groups.len().max(1);
        let all = self.advantages.iter().copied().zip(self.weights.iter().copied());
        all.skip(group * n).take(n)
    }

    /// Tokens that were written.
    pub fn n_tokens(&self) -> usize {
        self.groups.iter().flat_map(|group| &group.completions).map(|r| r.tokens.len()).sum()
    }
}
