//! Splits: sizes, and what training rows must not contain.

use std::collections::BTreeSet;

use anyhow::Result;
use model_io::ChatMessage;

use crate::{Example, SplitRule, Splits};

#[test]
fn a_random_split_is_disjoint_and_complete() -> Result<()> {
    let rows: Vec<usize> = (0..50).collect();
    let shares = |validation, test, seed| {
        let SplitRule { n_rows, n_validation, n_test, seed, .. } =
            SplitRule::of_shares(50, validation, test, seed);
        assert_eq!(n_rows, rows.len());
        Splits::hold_out(rows.clone(), |row| *row, n_validation, n_test, seed)
    };
    let Splits { train, validation, test } = shares(0.2, 0.1, 4)?;
    assert_eq!((train.len(), validation.len(), test.len()), (35, 10, 5));
    let all: BTreeSet<usize> = [train, validation.clone(), test].concat().into_iter().collect();
    assert_eq!(all.len(), 50);
    let without_test = shares(0.2, 0., 4)?.validation;
    assert_eq!(without_test, validation, "the validation rows do not depend on the test");
    assert_ne!(shares(0.2, 0., 5)?.validation, validation, "another seed");
    assert_eq!(shares(0.001, 0., 4)?.validation.len(), 1, "at least one");
    let split = Splits::hold_out(vec![1, 2, 3], |row| *row, 2, 1, 0);
    let error = split.expect_err("nothing to train on").to_string();
    assert!(error.contains("too few rows (3): 2 for validation and 1"), "{error}");
    Ok(())
}

#[test]
fn rows_of_a_prompt_are_in_one_split() -> Result<()> {
    let rows: Vec<usize> = (0..30).collect();
    let prompt = |row: &usize| row % 10;
    for seed in 0..20 {
        let Splits { train, validation, test } =
            Splits::hold_out(rows.clone(), prompt, 4, 3, seed)?;
        assert_eq!((train.len(), validation.len(), test.len()), (21, 6, 3), "whole prompts");
        let prompts = [train, validation, test]
            .map(|rows| rows.iter().map(prompt).collect::<BTreeSet<_>>().len());
        assert_eq!(prompts, [7, 2, 1]);
    }
    let error = Splits::hold_out(rows, |_| "one", 1, 0, 0).expect_err("one prompt").to_string();
    assert!(error.contains("too few rows (30)"), "{error}");
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
    assert_eq!(splits.n_repeated(), 1);
    assert_eq!(splits.remove_leaks(), 3);
    assert_eq!(splits.train, ["a", "c"].map(example));
    assert_eq!((splits.n_repeated(), splits.remove_leaks()), (0, 0));
}

#[test]
fn a_conversation_is_a_leak_only_if_all_of_its_messages_are_held_out() {
    let example = |question: &str, system: &str, last: &str| {
        let offer = ChatMessage::assistant("Shall I go on?");
        let prompt = vec![ChatMessage::user(question), offer, ChatMessage::user(last)];
        let system = Some(ChatMessage::system(system)).filter(|system| !system.content.is_empty());
        let prompt: Vec<ChatMessage> = system.into_iter().chain(prompt).collect();
        Example { prompt, ..Example::new("", "an answer") }
    };
    let held_out = example("Tell me of Rome.", "", "Yes, please.");
    let other = example("Tell me of Paris.", "", "Yes, please.");
    let same = example(" Tell me of Rome.\n", "Be brief.", "Yes, please. ");
    let mut splits = Splits {
        train: vec![other.clone(), same, held_out.clone()],
        validation: vec![held_out],
        test: Vec::new(),
    };
    assert_eq!(splits.n_repeated(), 1);
    assert_eq!(splits.remove_leaks(), 2, "apart from the system prompt and white space");
    assert_eq!(splits.train, [other]);
}
