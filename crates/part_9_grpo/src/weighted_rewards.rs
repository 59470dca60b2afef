//! Several rewards at once: their sum by weights, `correctness=1,format=0.5,runs/reward=0.2`.
//!
//! They are summed before advantages are taken, so a group's baseline is that of the sum, and a weight means what it says. Who pays is
//! a rule, a reward model of part 7, or, to see what the algorithm does by itself, chance; all are part 8's scorers.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use candle_core::Device;
use ppo::reward_fn::{self, NamedRewardFn};
use ppo::{RewardFn, RewardInput};
use sft::ChatTokenizer;
use tensor_core::Rng;

use crate::rewards::{REWARD_RULES, RewardRule};

/// Rewards and what each weighs.
#[derive(Debug, Clone)]
pub struct WeightedRewards {
    terms: Vec<RewardTerm>,
}

#[derive(Debug, Clone)]
struct RewardTerm {
    name: String,
    source: RewardSource,
    weight: f64,
}

/// Who pays.
#[derive(Debug, Clone)]
enum RewardSource {
    Rule(RewardRule),
    Random,
    /// The reward model that it is named after: a folder, a run's folder, or owner/name on the Hub.
    Model,
}

impl WeightedRewards {
    /// Reads `name=weight,name=weight`; a name alone weighs 1. What is no rule and has a slash, or exists, is a reward model.
    ///
    /// # Errors
    /// When a name or a weight is none, or a name stands twice.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parts = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let (name, weight) = (name.trim(), weight.trim());
            let rule = REWARD_RULES.iter().find(|(known, ..)| *known == name);
            let payer = match rule {
                Some((_, reward, _)) => RewardSource::Rule(*reward),
                None if name == "chance" => RewardSource::Random,
                None if name.contains('/') || Path::new(name).exists() => RewardSource::Model,
                None => {
                    let known: Vec<&str> = REWARD_RULES.iter().map(|(name, ..)| *name).collect();
                    bail!(
                        "no reward is called `{name}`, nor is it a folder; there are: {}, chance",
                        known.join(", ")
                    )
                }
            };
            let value: f64 = weight.parse().unwrap_or(f64::NAN);
            ensure!(value.is_finite(), "`{weight}` is no weight for the reward {name}");
            let twice = parts.iter().any(|part: &RewardTerm| part.name == name);
            ensure!(!twice, "the reward {name} is named twice");
            parts.push(RewardTerm { name: name.into(), source: payer, weight: value });
        }
        Ok(Self { terms: parts })
    }

    /// The reward models in it.
    pub fn reward_models(&self) -> impl Iterator<Item = &str> {
        let models = self.terms.iter().filter(|part| matches!(part.source, RewardSource::Model));
        models.map(|part| part.name.as_str())
    }

    /// It as a judge; reward models read `batch_size` texts at a time. The second result names those that have other tokens than the
    /// policy, which speaks as `speech` does.
    ///
    /// # Errors
    /// When there is no such reward model.
    pub fn open_reward_fn(
        &self,
        speech: &ChatTokenizer,
        batch_size: usize,
        device: &Device,
    ) -> Result<(NamedRewardFn, Vec<String>)> {
        let (mut parts, mut strangers) = (Vec::new(), Vec::new());
        let mut judges = String::new();
        for RewardTerm { name, source: payer, weight } in &self.terms {
            let named = |scorer| NamedRewardFn { reward_fn: scorer, name: name.clone() };
            let judge = match payer {
                RewardSource::Rule(reward) => named(rule_reward_fn(*reward)),
                RewardSource::Random => named(reward_fn::random_reward_fn()),
                RewardSource::Model => {
                    let (judge, other) =
                        reward_fn::open_reward_model(name, speech, batch_size, device)?;
                    strangers.extend(other.then(|| name.clone()));
                    judge
                }
            };
            judges += &format!("{}={weight},", judge.name);
            parts.push((judge.reward_fn, *weight));
        }
        let sum = move |replies: &[RewardInput<'_>], rng: &mut Rng| {
            let mut sums = vec![0.; replies.len()];
            for (scorer, weight) in &mut parts {
                let earned = scorer(replies, rng)?;
                sums.iter_mut().zip(earned).for_each(|(sum, earned)| *sum += *weight * earned);
            }
            Ok(sums)
        };
        Ok((NamedRewardFn { reward_fn: Box::new(sum), name: judges }, strangers))
    }
}

/// A rule as a scorer.
pub fn rule_reward_fn(reward: RewardRule) -> Box<RewardFn> {
    Box::new(move |replies, _| Ok(replies.iter().map(|reply| f64::from(reward(reply))).collect()))
}
