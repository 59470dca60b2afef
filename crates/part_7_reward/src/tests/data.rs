//! 7.1 Preference data: splits of a file.

use std::collections::HashSet;

use anyhow::Result;
use datasets::{Preference, PreferenceColumns};

use crate::PreferenceSource;

#[test]
fn splits_of_a_file_are_disjoint_and_of_the_requested_sizes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a.jsonl");
    let row =
        |i: usize| format!("{{\"prompt\": \"{i}\", \"chosen\": \"b\", \"rejected\": \"c\"}}\n");
    std::fs::write(&path, (0..50).map(row).collect::<String>())?;
    let source = PreferenceSource::File(path);
    let split = source.load_dataset(&PreferenceColumns::default(), 0, 0.2, 0.1, 4)?;
    assert_eq!((split.train.len(), split.validation.len(), split.test.len()), (35, 10, 5));
    let all = [&split.train[..], &split.validation, &split.test].concat();
    let distinct: HashSet<&String> = all.iter().map(|pair| &pair.prompt[0].content).collect();
    assert_eq!(distinct.len(), 50);
    let without_test = source.load_dataset(&PreferenceColumns::default(), 0, 0.2, 0., 4)?;
    assert_eq!(without_test.validation, split.validation, "--test must not change validation");
    assert!(without_test.test.is_empty());
    assert_eq!(split.into_eval_pairs().0.len(), 5);
    assert_eq!(without_test.into_eval_pairs().0.len(), 10);
    assert!(source.load_dataset(&PreferenceColumns::default(), 0, 0.9, 0.1, 4).is_err());
    Ok(())
}

#[test]
fn pairs_of_a_held_out_prompt_are_not_trained_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a.jsonl");
    // Three pairs of each of ten prompts.
    let row = |i: usize| {
        format!("{{\"prompt\": \"{}\", \"chosen\": \"b\", \"rejected\": \"c{i}\"}}\n", i % 10)
    };
    std::fs::write(&path, (0..30).map(row).collect::<String>())?;
    let source = PreferenceSource::File(path.clone());
    let split = source.load_dataset(&PreferenceColumns::default(), 0, 0.1, 0.1, 4)?;
    assert_eq!((split.validation.len(), split.test.len()), (3, 3));
    let held_out = [&split.validation[..], &split.test].concat();
    let is_held_out = |pair: &Preference| held_out.iter().any(|other| other.prompt == pair.prompt);
    assert_eq!(split.train.len(), 24);
    assert!(!split.train.iter().any(is_held_out));
    Ok(())
}
