//! Preferences that the runs of a model held out.

use std::fs;

use anyhow::Result;
use serde_json::{Value, json};

use crate::{DatasetFlags, Example, HeldOutRows, Preference, SplitRule, Splits};

/// All runs count, as for examples, and a run on preferences may have a test split.
#[test]
fn preferences_that_a_run_was_trained_on_are_not_held_out() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("pairs.jsonl");
    let row = |i: usize| {
        json!({ "prompt": format!("q {i}"), "chosen": "a", "rejected": "b" }).to_string() + "\n"
    };
    fs::write(&path, (0..40).map(row).collect::<String>())?;
    let (name, flags) = (path.to_string_lossy().into_owned(), DatasetFlags::default());
    let pairs = || -> Vec<Preference> {
        (0..40).map(|i| Preference::new(format!("q {i}"), "a", "b")).collect()
    };
    let run = |rule: SplitRule| json!({ "data": name, "pairs": 9, (SplitRule::SETTING): rule });
    let held_out = |runs: &[Value]| {
        let of_examples =
            |_: &Value, _: u64| -> Result<Vec<Example>> { anyhow::bail!("these are preferences") };
        HeldOutRows::new(runs, (&flags, name.as_str()), of_examples, || Ok(pairs()))
    };
    let with_test = SplitRule::of_shares(40, 0.4, 0.2, 8);
    let without_test = with_test.with_test(0.);
    let Splits { validation, test, .. } = with_test.hold_out(pairs())?;
    assert_eq!((validation.len(), test.len()), (16, 8));
    assert_eq!(held_out(&[run(with_test)])?.rows, test);
    assert_eq!(held_out(&[run(without_test)])?.rows, validation);
    let first = SplitRule::of_shares(40, 0.5, 0., 7);
    let learned = first.hold_out(pairs())?.train;
    let left: Vec<Preference> =
        validation.into_iter().filter(|pair| !learned.contains(pair)).collect();
    assert!(!left.is_empty() && left.len() < 16, "{}", left.len());
    assert_eq!(held_out(&[run(without_test), run(first)])?.rows, left);
    let examples = json!({ "data": name, "examples": 9, (SplitRule::SETTING): first });
    assert!(held_out(&[run(without_test), examples])?.warning.expect("unread").contains("known"));
    Ok(())
}
