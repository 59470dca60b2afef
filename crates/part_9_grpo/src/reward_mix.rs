//! Several rewards at once: their sum by weights, `correctness=1,format=0.5`.
//!
//! They are summed before advantages are taken, so a group's baseline is that of the sum, and a weight means what it says.

use anyhow::{Context, Result, bail, ensure};

use crate::rewards::{REWARDS, Reward};

/// Rewards and what each weighs.
#[derive(Debug, Clone)]
pub struct RewardMix {
    parts: Vec<(&'static str, Reward, f32)>,
}

impl RewardMix {
    /// Reads `name=weight,name=weight`; a name alone weighs 1.
    ///
    /// # Errors
    /// When a name or a weight is none, or a name stands twice.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parts: Vec<(&'static str, Reward, f32)> = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let known = REWARDS.iter().find(|(known, _, _)| *known == name.trim());
            let (name, reward, _) = known.with_context(|| {
                let names: Vec<&str> = REWARDS.iter().map(|(name, _, _)| *name).collect();
                format!("no reward is called `{}`; there are: {}", name.trim(), names.join(", "))
            })?;
            let value: f32 = weight.trim().parse().unwrap_or(f32::NAN);
            ensure!(value.is_finite(), "`{}` is no weight for the reward {name}", weight.trim());
            if parts.iter().any(|(other, _, _)| other == name) {
                bail!("the reward {name} is named twice");
            }
            parts.push((name, *reward, value));
        }
        Ok(Self { parts })
    }

    /// What a completion earns.
    pub fn reward(&self, prompt: &str, completion: &str, answer: &str) -> f32 {
        self.parts(prompt, completion, answer).into_iter().map(|(_, earned)| earned).sum()
    }

    /// The same by the rewards' names, each by its weight.
    pub fn parts(&self, prompt: &str, completion: &str, answer: &str) -> Vec<(&'static str, f32)> {
        let earned = |(name, reward, weight): &(&'static str, Reward, f32)| {
            (*name, weight * reward(prompt, completion, answer))
        };
        self.parts.iter().map(earned).collect()
    }

    /// The names of its rewards.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.parts.iter().map(|(name, _, _)| *name)
    }

    /// The most that a completion can earn, what is paid for its length left out.
    pub fn highest(&self) -> f32 {
        let most = |name: &str| match name {
            "correctness" => 2.,
            "format" => 0.8,
            "length" => 0.,
            _ => 1.,
        };
        self.parts.iter().map(|(name, _, weight)| weight.max(0.) * most(name)).sum()
    }
}
