use std::collections::BTreeSet;

use anyhow::Result;
use tensor_core::Rng;

use super::CPU;
use crate::{Batch, ByteCorpus, ByteTokenizer};

#[test]
fn targets_are_the_inputs_one_token_later() -> Result<()> {
    let tokens = ByteTokenizer.encode("abcdefg");
    let batch = Batch::random(&tokens, 2, 3, &mut Rng::new(0), &CPU)?;
    let (inputs, targets) = (batch.inputs.to_vec2::<u32>()?, batch.targets.to_vec2::<i64>()?);
    for (inputs, targets) in inputs.iter().zip(&targets) {
        assert_eq!(inputs[1..], targets[..2].iter().map(|&t| t as u32).collect::<Vec<_>>());
        let last = inputs[2] as usize;
        assert_eq!(targets[2], last as i64 + 1, "the next letter of the alphabet");
    }
    Ok(())
}

#[test]
fn random_batches_contain_every_window_including_first_and_last() -> Result<()> {
    let tokens = ByteTokenizer.encode("abcdefg");
    let batch = Batch::random(&tokens, 300, 3, &mut Rng::new(0), &CPU)?;
    let inputs = batch.inputs.to_vec2::<u32>()?;
    let starts: BTreeSet<u32> = inputs.iter().map(|window| window[0] - u32::from(b'a')).collect();
    assert_eq!(starts, BTreeSet::from([0, 1, 2, 3]), "`defg` is the last window with its target");
    Ok(())
}

#[test]
fn consecutive_windows_predict_each_token_but_the_first_once() -> Result<()> {
    for n in [2, 3, 4, 7, 12, 13, 14, 25] {
        let tokens: Vec<u32> = (0..n).collect();
        let mut predicted = Vec::new();
        for batch in Batch::consecutive(&tokens, 2, 3, &CPU) {
            let batch = batch?;
            assert_eq!(batch.inputs.dims(), batch.targets.dims());
            predicted.extend(batch.targets.flatten_all()?.to_vec1::<i64>()?);
        }
        assert_eq!(predicted, (1..i64::from(n)).collect::<Vec<_>>(), "{n} tokens");
    }
    assert_eq!(Batch::consecutive(&[], 2, 3, &CPU).count(), 0);
    Ok(())
}

#[test]
fn the_corpus_is_split_without_overlap_or_loss() {
    let text: Vec<u8> = (0..=255).collect();
    let corpus = ByteCorpus::from_bytes(&text);
    assert_eq!((corpus.train.len(), corpus.validation.len()), (230, 26));
    assert_eq!([corpus.train, corpus.validation].concat(), ByteTokenizer.encode(&text));
}

#[test]
fn a_missing_empty_or_too_short_file_is_reported() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("text");
    let error = |path: &std::path::Path| format!("{:#}", ByteCorpus::open(path).unwrap_err());
    assert!(error(&path).contains("text: No such file"), "{}", error(&path));
    std::fs::write(&path, "")?;
    assert!(error(&path).contains("text is empty"));
    std::fs::write(&path, b"no \xFF UTF-8 at all \xC3")?;
    let corpus = ByteCorpus::open(&path)?; // the bytes need not be UTF-8
    let error = corpus.ensure_fits_context(16).unwrap_err().to_string();
    assert!(error.contains("the validation part has 2 tokens"), "{error}");
    assert!(corpus.ensure_fits_context(1).is_ok());
    Ok(())
}
