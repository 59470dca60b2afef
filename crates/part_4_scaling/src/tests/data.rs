//! Data: from text to shuffled windows, nothing lost and nothing twice.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use candle_core::Device;
use modern::SkipSpecialTokens;
use tensor_core::ops::IGNORE_INDEX;
use tiny_gpt::builtin_text::BuiltinText;

use crate::dataset::{ValidationSplit, tokenize};
use crate::{Corpus, DataLoader, Dataset, LoaderState, TokenFile, TokenWriter};

const SPLIT: ValidationSplit = ValidationSplit { fraction: 0.25, seed: 3 };

fn dataset(folder: &Path, text: &str) -> Result<Dataset> {
    let file = folder.join("text.txt");
    std::fs::write(&file, text)?;
    let corpus = Corpus::open(&file)?;
    let tokenizer = corpus.train_tokenizer(400, |_| {})?;
    let (out, mut seen) = (folder.join("tokens"), 0);
    std::fs::create_dir_all(&out)?;
    tokenize(&corpus, &tokenizer, SPLIT, &out, |bytes| seen += bytes)?;
    assert_eq!(seen, corpus.n_bytes);
    Dataset::open(&out)
}

/// Eighty documents of ten lines or more.
fn stories() -> Vec<String> {
    let lines: Vec<&str> = BuiltinText::English.text().lines().collect();
    lines.chunks(lines.len() / 80).map(|lines| lines.join("\n").trim().to_string()).collect()
}

fn tokens(values: &[u32], vocab_size: usize) -> Result<(tempfile::TempDir, TokenFile)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("tokens.safetensors");
    let mut writer = TokenWriter::new(&path, vocab_size)?;
    if let Some((last, values)) = values.split_last() {
        writer.push(values, 7)?;
        writer.end_document(*last)?;
    }
    writer.finish("ours")?;
    let file = TokenFile::open(&path, "ours")?;
    Ok((folder, file))
}

#[test]
fn every_document_is_in_one_part_and_comes_back_as_it_was() -> Result<()> {
    let (folder, stories) = (tempfile::tempdir()?, stories());
    let data = dataset(folder.path(), &stories.join("\n<|endoftext|>\n"))?;
    let held_out = data.validation.n_documents();
    assert_eq!(held_out, (0.25 * stories.len() as f64).round() as usize);
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    stories.iter().for_each(|story| *left.entry(story).or_default() += 1);
    for part in [&data.train, &data.validation] {
        let mut end = 0;
        for i in 0..part.n_documents() {
            let range = part.document_range(i)?;
            assert_eq!(range.start, end);
            end = range.end;
            let ids = part.read(range)?;
            let (last, text) = ids.split_last().expect("a document has tokens");
            assert_eq!(Some(*last), data.tokenizer.eos());
            let text = data.tokenizer.decode(text, SkipSpecialTokens::No)?;
            *left.get_mut(text.as_str()).expect("a document of the corpus") -= 1;
        }
        assert_eq!(end, part.len());
        assert!(part.document_range(part.n_documents()).is_err());
    }
    assert!(left.values().all(|&n| n == 0), "some documents are missing: {left:?}");
    let bytes: usize = stories.iter().map(String::len).sum();
    assert_eq!(data.train.n_text_bytes() + data.validation.n_text_bytes(), bytes);
    Ok(())
}

#[test]
fn a_single_document_cannot_be_split() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let error = dataset(folder.path(), "one document").expect_err("refused").to_string();
    assert!(error.contains("single document") && error.contains("<|endoftext|>"), "{error}");
    assert!(!Dataset::exists_at(&folder.path().join("tokens")));
    let two = dataset(folder.path(), "one<|endoftext|>two")?;
    assert_eq!((two.train.n_documents(), two.validation.n_documents()), (1, 1));
    Ok(())
}

#[test]
fn small_vocabularies_take_two_bytes_and_large_ones_four() -> Result<()> {
    for (vocab_size, values) in [(1 << 16, [0, 258, 65_535]), ((1 << 16) + 1, [1, 65_536, 9])] {
        let (folder, file) = tokens(&values, vocab_size)?;
        assert_eq!((file.read(0..3)?, file.len(), file.n_text_bytes()), (values.to_vec(), 3, 7));
        assert_eq!(file.document_range(0)?, 0..3);
        assert!(file.read(2..4).is_err());
        // A reader that knows nothing of ours finds the same.
        let bytes = std::fs::read(folder.path().join("tokens.safetensors"))?;
        let theirs = safetensors::SafeTensors::deserialize(&bytes)?;
        let dtype =
            if vocab_size == 1 << 16 { safetensors::Dtype::U16 } else { safetensors::Dtype::U32 };
        assert_eq!(
            (theirs.tensor("tokens")?.dtype(), theirs.tensor("tokens")?.shape()),
            (dtype, &[3][..])
        );
        assert_eq!(theirs.tensor("document_ends")?.data(), 3u64.to_le_bytes());
    }
    Ok(())
}

#[test]
fn damaged_and_foreign_files_are_refused() -> Result<()> {
    let (folder, file) = tokens(&[5; 1000], 300)?;
    let path = folder.path().join("tokens.safetensors");
    let error = |found: Result<TokenFile>| format!("{:#}", found.expect_err("refused"));
    assert!(error(TokenFile::open(&path, "theirs")).contains("another tokenizer's"));
    drop(file);
    let whole = std::fs::read(&path)?;
    for at in (0..whole.len()).step_by(97).chain([0, 9, whole.len() - 9, 1100]) {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        std::fs::write(&path, &bytes)?;
        // Two spaces more or less in the header, or a wrong count of bytes of text, do no harm.
        assert!(at < 1032 || TokenFile::open(&path, "ours").is_err(), "byte {at}");
        std::fs::write(&path, &whole[..at])?;
        error(TokenFile::open(&path, "ours"));
    }
    let (_folder, file) = tokens(&[299, 300], 300)?;
    assert!(file.read(0..1).is_ok());
    assert!(file.read(0..2).expect_err("refused").to_string().contains("outside the vocabulary"));
    Ok(())
}

/// The targets that count, and the inputs before them, of `b` windows at a time, over `windows` windows.
fn read(
    data: &mut DataLoader<'_>,
    cursor: &mut LoaderState,
    windows: usize,
    b: usize,
) -> Result<Vec<(u32, i64)>> {
    let mut pairs = Vec::new();
    for _ in 0..windows / b {
        let batch = data.next_batch(cursor, b, &Device::Cpu)?;
        let inputs: Vec<u32> = batch.inputs.flatten_all()?.to_vec1()?;
        let targets: Vec<i64> = batch.targets.flatten_all()?.to_vec1()?;
        pairs.extend(inputs.into_iter().zip(targets).filter(|(_, t)| *t != IGNORE_INDEX));
    }
    Ok(pairs)
}

#[test]
fn an_epoch_predicts_every_token_once_in_an_order_of_its_own() -> Result<()> {
    let all: Vec<u32> = (0..1003).collect();
    let (_folder, file) = tokens(&all, 2000)?;
    let mut data = DataLoader::new(&file, 10, 1)?;
    assert_eq!(data.n_windows(), 101, "the last window has two targets");
    let mut cursor = LoaderState::default();
    let epochs = [read(&mut data, &mut cursor, 101, 1)?, read(&mut data, &mut cursor, 101, 1)?];
    assert_eq!(cursor, LoaderState { epoch: 1, window: 101 });
    for epoch in &epochs {
        assert!(epoch.iter().all(|&(input, target)| i64::from(input) + 1 == target));
        let mut targets: Vec<i64> = epoch.iter().map(|pair| pair.1).collect();
        assert!(!targets.is_sorted());
        targets.sort_unstable();
        assert!(targets.iter().copied().eq(1..1003));
    }
    assert_ne!(epochs[0], epochs[1]);
    let other = read(&mut DataLoader::new(&file, 10, 2)?, &mut LoaderState::default(), 101, 1)?;
    assert_ne!(epochs[0], other, "another seed, another order");
    Ok(())
}

#[test]
fn a_cursor_goes_on_where_it_stopped_across_epochs() -> Result<()> {
    let (_folder, file) = tokens(&(0..250).collect::<Vec<_>>(), 300)?;
    let mut cursor = LoaderState::default();
    let whole = read(&mut DataLoader::new(&file, 8, 5)?, &mut cursor, 96, 4)?;
    let mut again = LoaderState::default();
    let mut parts = read(&mut DataLoader::new(&file, 8, 5)?, &mut again, 40, 4)?;
    let saved = serde_json::to_string(&again)?;
    let mut again: LoaderState = serde_json::from_str(&saved)?;
    parts.extend(read(&mut DataLoader::new(&file, 8, 5)?, &mut again, 56, 4)?);
    assert_eq!((whole, cursor), (parts, again));
    Ok(())
}

#[test]
fn there_must_be_something_to_predict() -> Result<()> {
    for (values, fits) in [(&[][..], false), (&[1], false), (&[1, 2], true)] {
        let (_folder, file) = tokens(values, 300)?;
        assert_eq!(DataLoader::new(&file, 8, 0).is_ok(), fits);
    }
    Ok(())
}
