//! Lists with an entry for each layer, such as `layer_types`.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// True for each layer that has a window, according to `layer_types`.
pub(super) fn sliding_layers(kinds: &Value, n_layer: usize) -> Result<Vec<bool>> {
    let kinds = kinds.as_array().context("`layer_types` must be a list")?;
    ensure!(kinds.len() == n_layer, "{n_layer} layers have {} `layer_types`", kinds.len());
    let supported = ["full_attention", "sliding_attention"];
    let other = kinds.iter().find(|kind| !supported.iter().any(|name| kind == name));
    if let Some(other) = other {
        bail!("`layer_types` has {other}: expected full_attention or sliding_attention");
    }
    Ok(kinds.iter().map(|kind| kind == "sliding_attention").collect())
}

/// n if `is_of_kind` is true for every n-th of `n_layer` layers and for no other; `None` if it is
/// true for none.
///
/// # Errors
/// When it has another pattern; the message begins with what is `expected`.
pub(super) fn layer_interval(
    is_of_kind: &[bool],
    n_layer: usize,
    expected: &str,
) -> Result<Option<usize>> {
    let interval = is_of_kind.iter().position(|&is_of_kind| is_of_kind).map(|first| first + 1);
    let regular =
        (1..=n_layer).map(|layer| interval.is_some_and(|interval| layer.is_multiple_of(interval)));
    // The comparison ends with the shorter of the two.
    ensure!(regular.eq(is_of_kind.iter().copied()), "{expected}: other patterns are not supported");
    Ok(interval)
}
