//! Weighted sum of rewards, written as `correctness=1,format=0.5,runs/reward=0.2`.
//!
//! Rewards are summed before advantages are computed, so a group's baseline is that of the sum and
//! the weights keep their meaning. A term is a rule, the tests that the completion's code passes, a
//! judge, a reward model of part 7, a program, or a random reward as a control.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use candle_core::Device;
use datasets::Example;
use model_io::ChatVariables;
use ppo::flags::RewardProgramFlags;
use ppo::reward_fn::{self, NamedRewardFn, OutcomeRewards, RewardPart, RewardParts};
use ppo::reward_model_fn::open_reward_model;
use ppo::{RewardFn, RewardInput, ScoringCounter};
use sft::ChatTokenizer;
use tensor_core::Rng;

use crate::rewards::{
    REWARD_RULES, RIGHT_OR_WRONG_RULES, RULES_WITHOUT_ANSWERS, RewardRule, max_reward,
};

/// Rewards and their weights.
#[derive(Debug, Clone)]
pub struct WeightedRewards {
    terms: Vec<RewardTerm>,
    /// Values of terms that only tell right from wrong.
    outcome: OutcomeRewards,
}

#[derive(Debug, Clone)]
struct RewardTerm {
    name: String,
    source: RewardSource,
    weight: f64,
}

/// Source of a reward.
#[derive(Debug, Clone)]
enum RewardSource {
    /// Rule of [`REWARD_RULES`].
    Rule(RewardRule),
    /// Random reward.
    Random,
    /// Program of --reward-program.
    Program,
    /// Tests of the example, on the code of the completion.
    Code,
    /// Language model that scores completions.
    LlmJudge,
    /// Reward model at the path of the term's name: a folder, a run's folder, or owner/name on the
    /// Hub.
    Model,
}

impl RewardTerm {
    fn is_right_or_wrong(&self) -> bool {
        match self.source {
            RewardSource::Rule(_) => RIGHT_OR_WRONG_RULES.contains(&self.name.as_str()),
            RewardSource::Code => true,
            _ => false,
        }
    }
}

/// Name of the random reward in checkpoints, which have held it since before it was renamed.
const RANDOM_NAME: &str = "chance";

impl WeightedRewards {
    /// Name of the reward program.
    pub const PROGRAM: &str = "program";
    /// Name of the reward by the tests of an example.
    pub const CODE: &str = "code";
    /// Name of the reward by a language model.
    pub const JUDGE: &str = "judge";

    /// Parses `name=weight,name=weight`; the default weight is 1. A name that is not a rule is a
    /// reward model if it contains a slash or exists as a path.
    ///
    /// # Errors
    /// When a name is unknown or listed twice, a weight is not a finite number, or all are 0.
    pub fn parse(text: &str) -> Result<Self> {
        let mut terms: Vec<RewardTerm> = Vec::new();
        for term in text.split(',') {
            let (name, weight_text) = term.split_once('=').unwrap_or((term, "1"));
            let (given_name, weight_text) = (name.trim(), weight_text.trim());
            let name = if given_name == "random" { RANDOM_NAME } else { given_name };
            let rule = REWARD_RULES.iter().find(|(known, ..)| *known == name);
            let source = match rule {
                Some((_, reward, _)) => RewardSource::Rule(*reward),
                None if name == RANDOM_NAME => RewardSource::Random,
                None if name == Self::PROGRAM => RewardSource::Program,
                None if name == Self::CODE => RewardSource::Code,
                None if name == Self::JUDGE => RewardSource::LlmJudge,
                None if name.contains('/') || Path::new(name).exists() => RewardSource::Model,
                None => {
                    let known: Vec<&str> = REWARD_RULES.iter().map(|(name, ..)| *name).collect();
                    bail!(
                        "unknown reward `{name}`: expected a folder, owner/name on the Hub, or one \
                         of {}, code, judge, program, random",
                        known.join(", ")
                    )
                }
            };
            let weight: f64 = weight_text.parse().unwrap_or(f64::NAN);
            ensure!(
                weight.is_finite(),
                "the weight of the reward {given_name} must be a finite number, got `{weight_text}`"
            );
            let repeated = terms.iter().any(|term| term.name == name);
            ensure!(!repeated, "the reward {given_name} is listed twice");
            terms.push(RewardTerm { name: name.into(), source, weight });
        }
        ensure!(
            terms.iter().any(|term| term.weight != 0.),
            "the weight of each reward is 0, so there is nothing to learn"
        );
        Ok(Self { terms, outcome: OutcomeRewards::default() })
    }

    /// These rewards with `outcome` as the values of the terms that only tell right from wrong.
    pub fn with_outcome(self, outcome: OutcomeRewards) -> Self {
        Self { outcome, ..self }
    }

    /// Checks that `examples` have what the terms compare with: tests, or right answers.
    ///
    /// # Errors
    /// When one lacks it.
    pub fn ensure_applicable(&self, examples: &[Example]) -> Result<()> {
        ensure!(
            !self.has(Self::CODE) || examples.iter().all(|example| !example.tests.is_empty()),
            "the reward code needs rows with tests: --task code, and a column tests or test_list"
        );
        if let Some(rule) = self.rule_with_answers()
            && let Some(example) = examples.iter().find(|example| example.completion.is_empty())
        {
            let prompt = example.prompt.last().map_or("", |message| &message.content);
            bail!(
                "the reward {rule} compares with right answers, and there is none to {prompt:?}: \
                 use a reward model or program, or rows with an answer"
            );
        }
        Ok(())
    }

    /// Whether a term only tells right from wrong.
    pub fn has_right_or_wrong(&self) -> bool {
        self.terms.iter().any(RewardTerm::is_right_or_wrong)
    }

    /// Paths or names of the reward models among the terms.
    pub fn reward_models(&self) -> impl Iterator<Item = &str> {
        let models = self.terms.iter().filter(|term| matches!(term.source, RewardSource::Model));
        models.map(|term| term.name.as_str())
    }

    /// Name of the first rule that compares completions with right answers.
    pub fn rule_with_answers(&self) -> Option<&str> {
        let compares = |term: &&RewardTerm| {
            let is_rule = matches!(term.source, RewardSource::Rule(_));
            is_rule && !RULES_WITHOUT_ANSWERS.contains(&term.name.as_str())
        };
        self.terms.iter().find(compares).map(|term| term.name.as_str())
    }

    /// Whether the reward of this `name` is among the terms.
    pub fn has(&self, name: &str) -> bool {
        self.terms.iter().any(|term| term.name == name)
    }

    /// Highest sum, that of the highest reward of each term; `None` where one of them is not known,
    /// or one is subtracted, since a completion cannot have all extremes at once.
    pub fn max_reward(&self) -> Option<f64> {
        let max = |term: &RewardTerm| {
            let highest = match term.source {
                _ if term.is_right_or_wrong() => self.outcome.correct,
                RewardSource::Rule(_) => max_reward(&term.name)?,
                RewardSource::LlmJudge => 1.,
                _ => return None,
            };
            (term.weight >= 0.).then_some(term.weight * highest)
        };
        self.terms.iter().map(max).sum()
    }

    /// Reward function of the sum, with the program of `program`; reward models process
    /// `batch_size` texts at a time. `variables` are the chat variables of the run, for reward
    /// models and a judge. Prints a note for each reward model whose tokenizer differs from the
    /// policy's `chat_tokenizer`.
    ///
    /// # Errors
    /// When a reward model cannot be opened, or the program cannot be started.
    pub fn open_reward_fn(
        &self,
        program: &RewardProgramFlags,
        chat_tokenizer: &ChatTokenizer,
        batch_size: usize,
        variables: &ChatVariables,
        device: &Device,
    ) -> Result<NamedRewardFn> {
        let (mut weighted, mut sum_name) = (Vec::new(), String::new());
        let counter = ScoringCounter::default();
        for term in &self.terms {
            let RewardTerm { name, source, weight } = term;
            let named = |reward_fn| NamedRewardFn::new(reward_fn, name.clone());
            let mut reward = match source {
                RewardSource::Rule(reward) => named(rule_reward_fn(*reward)),
                RewardSource::Random => named(reward_fn::random_reward_fn()),
                RewardSource::Program => program.open_reward_fn()?,
                RewardSource::Code => program.code.open_reward_fn()?,
                RewardSource::LlmJudge => {
                    program.judge.open_reward_fn(variables, device, counter.clone())?
                }
                RewardSource::Model => open_reward_model(
                    name,
                    chat_tokenizer,
                    batch_size,
                    variables,
                    device,
                    counter.clone(),
                )?,
            };
            if term.is_right_or_wrong() {
                reward = self.outcome.apply(reward);
            }
            sum_name += &format!("{}={weight},", reward.name);
            weighted.push((reward, name.clone(), *weight));
        }
        let parts = RewardParts::default();
        let last_parts = parts.clone();
        let sum = move |inputs: &[RewardInput<'_>], rng: &mut Rng| {
            let mut sums = vec![0.; inputs.len()];
            let mut parts = Vec::new();
            for (term, name, weight) in &mut weighted {
                let rewards = (term.reward_fn)(inputs, rng)?;
                sums.iter_mut().zip(&rewards).for_each(|(sum, reward)| *sum += *weight * reward);
                let notes = term.parts.0.take().pop().map(|part| part.notes).unwrap_or_default();
                parts.push(RewardPart { name: name.clone(), rewards, notes });
            }
            last_parts.0.replace(parts);
            Ok(sums)
        };
        let (reward_fn, max_reward) = (Box::new(sum), self.max_reward());
        Ok(NamedRewardFn { reward_fn, name: sum_name, parts, counter, max_reward })
    }
}

/// Reward function of a rule.
pub fn rule_reward_fn(rule: RewardRule) -> Box<RewardFn> {
    Box::new(move |inputs, _| Ok(inputs.iter().map(|input| f64::from(rule(input))).collect()))
}
