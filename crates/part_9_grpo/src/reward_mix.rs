//! Several rewards at once: their sum by weights, `correctness=1,format=0.5,runs/reward=0.2`.
//!
//! They are summed before advantages are taken, so a group's baseline is that of the sum, and a weight means what it says. Who pays is
//! a rule, a reward model of part 7, or, to see what the algorithm does by itself, chance; all are part 8's scorers.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use candle_core::Device;
use ppo::{Reply, Scorer, scorer};
use sft::Speech;
use tensor_core::Rng;

use crate::rewards::{REWARDS, Reward};

/// Rewards and what each weighs.
#[derive(Debug, Clone)]
pub struct RewardMix {
    parts: Vec<(Payer, f64)>,
}

/// Who pays.
#[derive(Debug, Clone)]
enum Payer {
    Rule(Reward),
    Chance,
    /// A reward model: a folder, a run's folder, or owner/name on the Hub.
    Model(String),
}

impl RewardMix {
    /// Reads `name=weight,name=weight`; a name alone weighs 1. What is no rule and has a slash, or exists, is a reward model.
    ///
    /// # Errors
    /// When a name or a weight is none, or a name stands twice.
    pub fn parse(text: &str) -> Result<Self> {
        let (mut parts, mut names) = (Vec::new(), Vec::new());
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let (name, weight) = (name.trim(), weight.trim());
            let rule = REWARDS.iter().find(|(known, ..)| *known == name);
            let payer = match rule {
                Some((_, reward, _)) => Payer::Rule(*reward),
                None if name == "chance" => Payer::Chance,
                None if name.contains('/') || Path::new(name).exists() => Payer::Model(name.into()),
                None => {
                    let known: Vec<&str> = REWARDS.iter().map(|(name, ..)| *name).collect();
                    bail!(
                        "no reward is called `{name}`, nor is it a folder; there are: {}, chance",
                        known.join(", ")
                    )
                }
            };
            let value: f64 = weight.parse().unwrap_or(f64::NAN);
            ensure!(value.is_finite(), "`{weight}` is no weight for the reward {name}");
            ensure!(!names.contains(&name), "the reward {name} is named twice");
            names.push(name);
            parts.push((payer, value));
        }
        Ok(Self { parts })
    }

    /// The reward models in it.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|(payer, _)| match payer {
            Payer::Model(source) => Some(&**source),
            _ => None,
        })
    }

    /// It as a scorer; reward models read `batch_size` texts at a time. The second result names those that have other tokens than the
    /// policy, which speaks as `speech` does.
    ///
    /// # Errors
    /// When there is no such reward model.
    pub fn scorer(
        &self,
        speech: &Speech,
        batch_size: usize,
        device: &Device,
    ) -> Result<(Box<Scorer>, Vec<String>)> {
        let (mut parts, mut strangers) = (Vec::new(), Vec::new());
        for (payer, weight) in &self.parts {
            let scorer = match payer {
                Payer::Rule(reward) => rule(*reward),
                Payer::Chance => scorer::chance(),
                Payer::Model(source) => {
                    let (scorer, other) = scorer::reward_model(source, speech, batch_size, device)?;
                    strangers.extend(other.then(|| source.clone()));
                    scorer
                }
            };
            parts.push((scorer, *weight));
        }
        let sum = move |replies: &[Reply<'_>], rng: &mut Rng| {
            let mut sums = vec![0.; replies.len()];
            for (scorer, weight) in &mut parts {
                let earned = scorer(replies, rng)?;
                sums.iter_mut().zip(earned).for_each(|(sum, earned)| *sum += *weight * earned);
            }
            Ok(sums)
        };
        Ok((Box::new(sum), strangers))
    }
}

/// A rule as a scorer.
pub fn rule(reward: Reward) -> Box<Scorer> {
    Box::new(move |replies, _| Ok(replies.iter().map(|reply| f64::from(reward(reply))).collect()))
}
