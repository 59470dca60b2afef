//! Settings of several ranks. A launcher starts each with a command line of its own, and hosts may
//! have settings files of other content under the same path. Ranks whose step counts or batches
//! differ would wait for each other without end, or train towards different weights.

use anyhow::Result;
use ranks::Ranks;
use serde_json::{Map, Value};

use crate::usage_error::ensure_usage;

/// Settings in which ranks may differ: where the same things are on each host, and what it computes
/// with. Whether model and data are the same is checked by their content.
const OF_ONE_RANK: [&str; 7] =
    ["data", "device", "model", "out", "reference", "threads", "tokenizer"];

/// Checks that all `ranks` have the same `settings`, beside those of [`OF_ONE_RANK`].
///
/// # Errors
/// Names a setting of a rank that is not that of the first; and when another rank has ended.
pub(crate) fn ensure_same_settings(ranks: &Ranks, settings: &Value) -> Result<()> {
    if !ranks.are_several() {
        return Ok(());
    }
    let all = ranks.gather(&settings.to_string())?;
    let all: Vec<Map<String, Value>> =
        all.iter().map(|text| serde_json::from_str(text)).collect::<serde_json::Result<_>>()?;
    for (rank, theirs) in all.iter().enumerate() {
        for (key, value) in theirs {
            let of_first = all[0].get(key).cloned().unwrap_or_default();
            ensure_usage(
                *value == of_first || OF_ONE_RANK.contains(&key.as_str()),
                format!("rank {rank} has the setting {key} {value}, and the first has {of_first}"),
            )?;
        }
    }
    Ok(())
}
