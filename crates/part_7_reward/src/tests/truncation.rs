//! 7.1 What is too long loses its beginning: the end of a response is always read.

use anyhow::Result;

use super::{CPU, speech};
use crate::tokenized_pairs::pairs_sha256;
use crate::{PairBatch, Preference, tokenize_pairs};

/// A question so long that it fills any context.
fn long(chosen: &str, rejected: &str) -> Preference {
    Preference::new("What is the answer of all? ".repeat(30), chosen, rejected)
}

#[test]
fn a_long_conversation_loses_its_beginning_and_keeps_both_ends() -> Result<()> {
    let speech = speech()?;
    let whole = tokenize_pairs(&[long("19", "12")], &speech, 10_000)?;
    let found =
        tokenize_pairs(&[long("19", "12"), Preference::new("7?", "19", "12")], &speech, 20)?;
    assert_eq!((found.pairs.len(), found.n_truncated, found.n_identical), (2, 1, 0));
    let (pair, whole) = (&found.pairs[0], &whole.pairs[0]);
    for (cut, whole) in [(&pair.chosen, &whole.chosen), (&pair.rejected, &whole.rejected)] {
        assert_eq!(cut.len(), 20);
        assert!(whole.ends_with(cut), "the end is what is kept");
        assert_eq!(cut.last(), Some(&speech.eos_token_id()));
    }
    Ok(())
}

#[test]
fn pairs_whose_ends_are_the_same_are_dropped_and_counted() -> Result<()> {
    let same = " of all".repeat(20);
    let pair = Preference::new("7?", format!("12{same}"), format!("19{same}"));
    let found = tokenize_pairs(std::slice::from_ref(&pair), &speech()?, 16)?;
    assert_eq!((found.pairs.len(), found.n_truncated, found.n_identical), (0, 0, 1));
    assert_eq!(tokenize_pairs(&[pair], &speech()?, 100)?.pairs.len(), 1);
    Ok(())
}

#[test]
fn chosen_and_rejected_stand_in_one_batch_chosen_first() -> Result<()> {
    let preferences =
        [Preference::new("1?", "19", "12"), Preference::new("the answer?", "7", "of all")];
    let pairs = tokenize_pairs(&preferences, &speech()?, 64)?.pairs;
    let batch = PairBatch::from_pairs(&pairs.iter().collect::<Vec<_>>(), &CPU)?;
    let rows: Vec<Vec<u32>> = batch.ids.to_vec2()?;
    let wanted = [&pairs[0].chosen, &pairs[1].chosen, &pairs[0].rejected, &pairs[1].rejected];
    assert_eq!((batch.n_pairs(), rows.len()), (2, 4));
    for ((row, length), wanted) in rows.iter().zip(&batch.lengths).zip(wanted) {
        assert_eq!(&row[..*length], &wanted[..]);
    }
    assert_eq!(batch.n_tokens(), batch.lengths.iter().sum::<usize>());
    assert_eq!(pairs[1].completion_chars, [1, 6]);
    Ok(())
}

#[test]
fn the_name_of_pairs_changes_with_either_response() -> Result<()> {
    let speech = speech()?;
    let name = |chosen, rejected| -> Result<String> {
        let pairs = tokenize_pairs(&[Preference::new("7?", chosen, rejected)], &speech, 64)?.pairs;
        Ok(pairs_sha256(pairs.iter()))
    };
    assert_eq!(name("19", "12")?, name("19", "12")?);
    let others = [name("19", "7")?, name("7", "12")?, name("12", "19")?];
    assert!(!others.contains(&name("19", "12")?));
    Ok(())
}
