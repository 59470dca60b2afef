//! Progress of runs of earlier versions.

use serde_json::json;

use crate::{LengthGrouping, TrainProgress};

#[test]
fn a_run_from_before_the_key_length_grouping_keeps_its_order_of_batches() -> serde_json::Result<()>
{
    let old: TrainProgress = serde_json::from_value(json!({ "step": 3 }))?;
    assert_eq!((old.step, old.length_grouping), (3, LengthGrouping::FixedBuckets));
    let saved = serde_json::to_value(&old)?;
    assert_eq!(saved["length_grouping"], "fixed_buckets", "in its later checkpoints, too");
    let new = serde_json::to_value(TrainProgress::default())?;
    assert_eq!(new["length_grouping"], "megabatches");
    assert_eq!(serde_json::from_value::<TrainProgress>(new)?, TrainProgress::default());
    Ok(())
}
