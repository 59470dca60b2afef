//! Questions to a person about a pair of completions.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::ValueEnum;
use experiment::{Interrupt, terminal};
use model_io::ChatMessage;

use crate::annotation_file::{Label, LabelDetails, Strength};

/// Steps of the scale of five, its question and answers.
const STEPS: &str = "1 is significantly (1) or slightly (2) better, they are about the same (3), \
                     2 is slightly (4) or significantly (5) better";
const FIVE_QUESTION: &str = "1 to 5, s to skip, q to end";
const FIVE_ANSWERS: [&str; 7] = ["1", "2", "3", "4", "5", "s", "q"];

/// Scale of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Scale {
    /// The first or the second is better
    #[default]
    Pair,
    /// Significantly or slightly better, or about the same
    Five,
}

/// A person's answer about a pair.
pub(super) struct PairAnswer {
    pub(super) label: Label,
    pub(super) details: LabelDetails,
}

/// Answer of a person at the terminal, who sees a pair and chooses the better completion on
/// `scale`, then by each of the criteria; `None` for the end of the session.
pub(super) fn ask_about_pair(
    scale: Scale,
    criteria_names: &[String],
    title: &str,
    prompt: &[ChatMessage],
    pair: [&str; 2],
    interrupt: &Interrupt,
) -> Result<Option<PairAnswer>> {
    let messages =
        prompt.iter().map(|ChatMessage { role, content, .. }| format!("{role}: {content}\n"));
    let messages: String = messages.collect();
    let text = format!("\n{title}\n{messages}  1  {}\n  2  {}", pair[0], pair[1]);
    let (label, strength) = match scale {
        Scale::Pair => {
            let question = "better: 1 or 2, s to skip, q to end";
            match terminal::ask(&text, question, &["1", "2", "s", "q"], interrupt)? {
                Some(index @ (0 | 1)) => (Label::Preferred(index), None),
                Some(2) => return Ok(Some(PairAnswer::skipped())),
                _ => return Ok(None),
            }
        }
        Scale::Five => {
            let text = format!("{text}\n{STEPS}");
            match terminal::ask(&text, FIVE_QUESTION, &FIVE_ANSWERS, interrupt)? {
                Some(step @ (0 | 4)) => (Label::Preferred(step / 4), Some(Strength::Significantly)),
                Some(step @ (1 | 3)) => (Label::Preferred(step / 3), Some(Strength::Slightly)),
                Some(2) => (Label::NoPreference, None),
                Some(5) => return Ok(Some(PairAnswer::skipped())),
                _ => return Ok(None),
            }
        }
    };
    let sign = if label == Label::Preferred(1) { -1 } else { 1 };
    let mut criteria = BTreeMap::new();
    for name in criteria_names {
        let text = format!("by {name}: {STEPS}");
        match terminal::ask(&text, FIVE_QUESTION, &FIVE_ANSWERS, interrupt)? {
            Some(step @ 0..5) => drop(criteria.insert(name.clone(), sign * (2 - step as i8))),
            Some(5) => {}
            _ => return Ok(None),
        }
    }
    Ok(Some(PairAnswer { label, details: LabelDetails { strength, criteria } }))
}

impl PairAnswer {
    fn skipped() -> Self {
        Self { label: Label::NoPreference, details: LabelDetails::default() }
    }
}
