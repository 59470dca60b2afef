//! Splits: sizes, and what training rows must not contain.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::{Example, Splits};

#[test]
fn a_random_split_is_disjoint_and_complete() -> Result<()> {
    let rows: Vec<usize> = (0..50).collect();
    let Splits { train, validation, test } = Splits::hold_out_shares(rows.clone(), 0.2, 0.1, 4)?;
    assert_eq!((train.len(), validation.len(), test.len()), (35, 10, 5));
    let all: BTreeSet<usize> = [train, validation.clone(), test].concat().into_iter().collect();
    assert_eq!(all.len(), 50);
    let without_test = Splits::hold_out_shares(rows.clone(), 0.2, 0., 4)?;
    assert_eq!(
        without_test.validation, validation,
        "the validation rows do not depend on the test"
    );
    assert_ne!(Splits::hold_out(rows.clone(), 10, 0, 5)?.validation, validation, "another seed");
    assert_eq!(Splits::hold_out_shares(rows, 0.001, 0., 4)?.validation.len(), 1, "at least one");
    let error = Splits::hold_out(vec![1, 2, 3], 2, 1, 0).expect_err("refused").to_string();
    assert!(error.contains("3 rows are too few: 2 for validation and 1 for test"), "{error}");
    Ok(())
}

#[test]
fn a_held_out_question_is_removed_from_the_training_examples() {
    let example = |question: &str| Example::new(question, "an answer");
    let mut splits = Splits {
        train: ["a", "b", "c", "b", "d"].map(example).to_vec(),
        validation: vec![Example::new("b", "another answer")],
        test: vec![example("d")],
    };
    splits.remove_leaks();
    assert_eq!(splits.train, ["a", "c"].map(example));
}
