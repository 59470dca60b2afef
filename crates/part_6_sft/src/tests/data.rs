//! Built-in data, and the splits of a file.

use anyhow::Result;
use datasets::Example;
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

#[test]
fn a_question_of_the_validation_split_is_not_trained_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a.jsonl");
    // Three answers to each of ten questions.
    let row = |i: usize| format!("{{\"prompt\": \"{}\", \"completion\": \"{i}\"}}\n", i % 10);
    std::fs::write(&path, (0..30).map(row).collect::<String>())?;
    let source = SftSource::File(path.clone());
    let split = source.load_dataset(None, 1, DemonstrationStyle::Clean, 0.1, 4)?;
    assert_eq!(split.validation.len(), 3);
    let is_held_out =
        |example: &Example| split.validation.iter().any(|other| other.prompt == example.prompt);
    assert_eq!(split.train.len(), 27);
    assert!(!split.train.iter().any(is_held_out));
    Ok(())
}
