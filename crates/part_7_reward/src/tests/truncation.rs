//! 7.1 Tokenized pairs: truncation on the left, batches, the hash of the data.

use anyhow::Result;
use datasets::Preference;

use super::{CPU, chat_tokenizer};
use crate::tokenized_pairs::pairs_sha256;
use crate::{PairBatch, tokenize_pairs};

/// Preference with a prompt of hundreds of tokens.
fn long_preference(chosen: &str, rejected: &str) -> Preference {
    Preference::new("What is the answer of all? ".repeat(30), chosen, rejected)
}

#[test]
fn a_long_conversation_is_truncated_on_the_left() -> Result<()> {
    let tokenizer = chat_tokenizer()?;
    let preferences = [long_preference("19", "12"), Preference::new("7?", "19", "12")];
    let untruncated = tokenize_pairs(&preferences, &tokenizer, 10_000)?;
    let truncated = tokenize_pairs(&preferences, &tokenizer, 20)?;
    assert_eq!((truncated.pairs.len(), truncated.n_truncated, truncated.n_identical), (2, 1, 0));
    let (short, long) = (&truncated.pairs[0], &untruncated.pairs[0]);
    for (short, long) in [(&short.chosen, &long.chosen), (&short.rejected, &long.rejected)] {
        assert_eq!(short.len(), 20);
        assert!(long.ends_with(short), "the end of the text is kept");
        assert_eq!(short.last(), Some(&tokenizer.eos_token_id()));
    }
    Ok(())
}

#[test]
fn pairs_that_truncation_makes_identical_are_dropped_and_counted() -> Result<()> {
    let ending = " of all".repeat(20);
    let pair = Preference::new("7?", format!("12{ending}"), format!("19{ending}"));
    let tokenizer = chat_tokenizer()?;
    let truncated = tokenize_pairs(std::slice::from_ref(&pair), &tokenizer, 16)?;
    assert_eq!((truncated.pairs.len(), truncated.n_truncated, truncated.n_identical), (0, 0, 1));
    assert_eq!(tokenize_pairs(&[pair], &tokenizer, 100)?.pairs.len(), 1);
    Ok(())
}

#[test]
fn a_batch_has_the_chosen_rows_first_then_the_rejected_rows() -> Result<()> {
    let preferences =
        [Preference::new("1?", "19", "12"), Preference::new("the answer?", "7", "of all")];
    let pairs = tokenize_pairs(&preferences, &chat_tokenizer()?, 64)?.pairs;
    let batch = PairBatch::from_pairs(&pairs.iter().collect::<Vec<_>>(), &CPU)?;
    let rows: Vec<Vec<u32>> = batch.ids.to_vec2()?;
    let expected = [&pairs[0].chosen, &pairs[1].chosen, &pairs[0].rejected, &pairs[1].rejected];
    assert_eq!((batch.n_pairs(), rows.len()), (2, 4));
    for ((row, length), expected) in rows.iter().zip(&batch.lengths).zip(expected) {
        assert_eq!(&row[..*length], &expected[..]);
    }
    assert_eq!(batch.n_tokens(), batch.lengths.iter().sum::<usize>());
    assert_eq!(pairs[1].completion_chars, [1, 6]);
    Ok(())
}

#[test]
fn the_hash_of_pairs_changes_with_either_completion() -> Result<()> {
    let tokenizer = chat_tokenizer()?;
    let hash = |chosen, rejected| -> Result<String> {
        let preferences = [Preference::new("7?", chosen, rejected)];
        Ok(pairs_sha256(tokenize_pairs(&preferences, &tokenizer, 64)?.pairs.iter()))
    };
    assert_eq!(hash("19", "12")?, hash("19", "12")?);
    let others = [hash("19", "7")?, hash("7", "12")?, hash("12", "19")?];
    assert!(!others.contains(&hash("19", "12")?));
    Ok(())
}
