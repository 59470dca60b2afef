//! Who pays: rules, a reward model of part 7, or, to see what the algorithm does by itself, chance. All are part 8's scorers.

use anyhow::Result;
use candle_core::Device;
use ppo::{Reply, Scorer, scorer};
use sft::Speech;

use crate::RewardMix;
use crate::rewards::REWARDS;

/// What `text` names: `chance`, a [mix](RewardMix::parse) of rules, or a reward model (a folder, a run's folder, or owner/name on the
/// Hub), which reads `batch_size` texts at a time. Says so where the reward model has other tokens than the policy, which speaks as
/// `speech` does.
///
/// # Errors
/// When it is none of them.
pub fn judge(
    text: &str,
    speech: &Speech,
    batch_size: usize,
    device: &Device,
) -> Result<Box<Scorer>> {
    if text.trim() == "chance" {
        return Ok(scorer::chance());
    }
    if !names_a_model(text) {
        return Ok(RewardMix::parse(text)?.scorer());
    }
    let (scorer, other) = scorer::reward_model(text, speech, batch_size, device)?;
    if other {
        println!(
            "the reward model has another tokenizer than the policy: it gets completions as text, in tokens of its own"
        );
    }
    Ok(scorer)
}

/// Whether it can be no mix of rules.
pub fn names_a_model(text: &str) -> bool {
    let name = text.split([',', '=']).next().unwrap_or_default().trim();
    let rule = REWARDS.iter().any(|(known, _, _)| *known == name);
    !rule && (text.contains('/') || std::path::Path::new(text).exists())
}

impl RewardMix {
    /// It as a scorer.
    pub fn scorer(self) -> Box<Scorer> {
        Box::new(move |replies: &[Reply<'_>], _| {
            let each = replies.iter().map(|Reply { example, text, .. }| {
                let asked = example.prompt.last().map_or("", |message| &message.content);
                f64::from(self.reward(asked, text, &example.response))
            });
            Ok(each.collect())
        })
    }
}
