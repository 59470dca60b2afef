//! Who pays: rules, or, to see what the algorithm does by itself, chance.

use anyhow::Result;
use sft::Example;
use tensor_core::Rng;

use crate::RewardMix;

/// Who pays.
#[derive(Debug, Clone)]
pub enum Judge {
    /// Rules, summed by their weights.
    Rules(RewardMix),
    /// 1 or 0 by the toss of a coin.
    Chance,
}

impl Judge {
    /// `chance`, or a [mix](RewardMix::parse) of rules.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self> {
        match text.trim() {
            "chance" => Ok(Self::Chance),
            mix => Ok(Self::Rules(RewardMix::parse(mix)?)),
        }
    }

    /// What `text` earns as a completion of `example`.
    pub fn reward(&self, example: &Example, text: &str, rng: &mut Rng) -> f32 {
        match self {
            Self::Rules(mix) => {
                let asked = example.prompt.last().map_or("", |message| &message.content);
                mix.reward(asked, text, &example.response)
            }
            Self::Chance => rng.below(2) as f32,
        }
    }

    /// What it pays for, in words.
    pub fn name(&self) -> String {
        match self {
            Self::Rules(mix) => mix.names().collect::<Vec<_>>().join(", "),
            Self::Chance => "chance".into(),
        }
    }
}
