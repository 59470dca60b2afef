//! Deciding without a person: by a rule.

use serde::Serialize;
use sft::metrics::exact_match;

/// Which of two responses is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum PreferenceRule {
    /// The one that is exactly what the data say, if the other is not
    Exact,
    /// The shorter one
    Shorter,
}

impl PreferenceRule {
    /// The better one of `pair`, 0 or 1, of responses to what `wanted` would answer; none where the rule does not say.
    pub fn preferred_index(self, pair: [&str; 2], wanted: &str) -> Option<usize> {
        let order = match self {
            Self::Exact => {
                let [a, b] = pair.map(|response| exact_match(response, wanted));
                a.cmp(&b)
            }
            Self::Shorter => {
                let [a, b] = pair.map(|response| response.chars().count());
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
