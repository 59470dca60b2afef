//! Rules that label the better of two completions in place of a person.

use std::cmp::Ordering;

use serde::Serialize;
use sft::metrics::exact_match;

use crate::helpfulness::helpfulness_score;

/// Rule that labels the better of two completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum PreferenceRule {
    /// Prefer the completion that matches the dataset's answer exactly, if the other does not
    Exact,
    /// Prefer the shorter completion
    Shorter,
    /// Prefer the completion that asks questions, gives analogies and examples, and is neither
    /// short nor long: a rule of thumb that is easily fooled
    Helpful,
}

impl PreferenceRule {
    /// Index (0 or 1) of the better completion of `pair`, or `None` if the rule does not decide.
    /// `expected` is the right answer.
    pub fn preferred_index(self, pair: [&str; 2], expected: &str) -> Option<usize> {
        let order = match self {
            Self::Exact => {
                let [a, b] = pair.map(|completion| exact_match(completion, expected));
                a.cmp(&b)
            }
            Self::Shorter => {
                let [a, b] = pair.map(|completion| completion.chars().count());
                b.cmp(&a)
            }
            Self::Helpful => {
                let [a, b] = pair.map(helpfulness_score);
                a.cmp(&b)
            }
        };
        match order {
            Ordering::Greater => Some(0),
            Ordering::Less => Some(1),
            Ordering::Equal => None,
        }
    }
}
