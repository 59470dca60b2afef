//! Rule-based labels for preference pairs, instead of a person's.

use serde::Serialize;
use sft::metrics::exact_match;

/// Rule that labels the better of two completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum PreferenceRule {
    /// Prefer the completion that matches the dataset's answer exactly, if the other does not
    Exact,
    /// Prefer the shorter completion
    Shorter,
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
        };
        match order {
            std::cmp::Ordering::Greater => Some(0),
            std::cmp::Ordering::Less => Some(1),
            std::cmp::Ordering::Equal => None,
        }
    }
}
