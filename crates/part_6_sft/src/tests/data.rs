//! Built-in data.

use anyhow::Result;
use datasets::arithmetic_questions::DemonstrationStyle;

use crate::SftSource;

#[test]
fn the_everyday_splits_do_not_overlap() -> Result<()> {
    let all = SftSource::Everyday.load_eval_examples(None)?;
    assert_eq!(all.len(), 70);
    let split = SftSource::Everyday.load_dataset(None, 1, DemonstrationStyle::Clean, 0.2, 4)?;
    assert_eq!((split.train.len(), split.validation.len()), (56, 14));
    assert!(split.validation.iter().all(|example| !split.train.contains(example)));
    Ok(())
}
