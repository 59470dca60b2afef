//! Settings of runs of earlier versions whose key has another meaning now.

use serde_json::Value;

/// `settings` of a run under the keys of today. `ref_model_sync_steps` copied the policy to the
/// reference model, which is `sync_ref` now; under TRL's name it is mixed in.
pub(crate) fn with_current_keys(mut settings: Value) -> Value {
    if let Some(map) = settings.as_object_mut()
        && !map.contains_key("sync_ref_model")
        && let Some(interval) = map.remove("ref_model_sync_steps")
    {
        map.insert("sync_ref".into(), interval);
    }
    settings
}
