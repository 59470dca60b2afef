//! Data: every token of a text reaches the training windows exactly once per epoch.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use candle_core::Device;
use datasets::builtin_text::BuiltinText;
use datasets::dataset::{ValidationSplit, tokenize};
use datasets::{Dataset, TextCorpus, TokenFile, TokenWriter};
use model_io::{SkipSpecialTokens, Tokenizer, TokenizerSpecialTokens};
use tensor_core::ops::IGNORE_INDEX;

use crate::tokenizer_training::train_on_corpus;
use crate::{DataLoader, LoaderState};

const SPLIT: ValidationSplit = ValidationSplit { fraction: 0.25, seed: 3 };

fn dataset(folder: &Path, text: &str) -> Result<Dataset> {
    let file = folder.join("text.txt");
    std::fs::write(&file, text)?;
    let corpus = TextCorpus::open(&file)?;
    let tokenizer = train_on_corpus(&corpus, 400, |_| {})?;
    let (out, mut n_bytes) = (folder.join("tokens"), 0);
    std::fs::create_dir_all(&out)?;
    tokenize(&corpus, &tokenizer, SPLIT, &out, |bytes| n_bytes += bytes)?;
    assert_eq!(n_bytes, corpus.n_bytes);
    Dataset::open(&out)
}

/// Eighty documents of at least ten lines.
fn stories() -> Vec<String> {
    let lines: Vec<&str> = BuiltinText::English.text().lines().collect();
    lines.chunks(lines.len() / 80).map(|lines| lines.join("\n").trim().to_string()).collect()
}

/// Token file with one document, `values`, of the tokenizer `ours`.
fn token_file(values: &[u32], vocab_size: usize) -> Result<(tempfile::TempDir, TokenFile)> {
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
fn every_document_is_in_one_split_and_decodes_to_its_text() -> Result<()> {
    let (folder, stories) = (tempfile::tempdir()?, stories());
    let data = dataset(folder.path(), &stories.join("\n<|endoftext|>\n"))?;
    assert_eq!(data.validation.n_documents(), (0.25 * stories.len() as f64).round() as usize);
    let mut missing: BTreeMap<&str, usize> = BTreeMap::new();
    stories.iter().for_each(|story| *missing.entry(story).or_default() += 1);
    for split in [&data.train, &data.validation] {
        let mut end = 0;
        for i in 0..split.n_documents() {
            let range = split.document_range(i)?;
            assert_eq!(range.start, end);
            end = range.end;
            let ids = split.read(range)?;
            let (last, text) = ids.split_last().expect("a document has tokens");
            assert_eq!(Some(*last), data.tokenizer.eos());
            let text = data.tokenizer.decode(text, SkipSpecialTokens::No)?;
            *missing.get_mut(text.as_str()).expect("a document of the corpus") -= 1;
        }
        assert_eq!(end, split.len());
        assert!(split.document_range(split.n_documents()).is_err());
    }
    assert!(missing.values().all(|&n| n == 0), "some documents are missing: {missing:?}");
    let bytes: usize = stories.iter().map(String::len).sum();
    assert_eq!(data.train.n_text_bytes() + data.validation.n_text_bytes(), bytes);
    Ok(())
}

#[test]
fn a_single_document_is_split_between_two_words_near_its_last_quarter() -> Result<()> {
    // Several chunks of 64 KiB, so that the place lies in a chunk that is not the first.
    let text = BuiltinText::English.text().trim().repeat(5);
    assert!(text.len() > 1 << 18 && !text.contains("<|endoftext|>"));
    let folder = tempfile::tempdir()?;
    let data = dataset(folder.path(), &text)?;
    let [train, validation] = [&data.train, &data.validation].map(|split| {
        let ids = split.read(0..split.len()).expect("tokens");
        let (last, ids) = ids.split_last().expect("a document has tokens");
        assert_eq!((split.n_documents(), Some(*last)), (1, data.tokenizer.eos()));
        let text = data.tokenizer.decode(ids, SkipSpecialTokens::No).expect("a text");
        assert_eq!(split.n_text_bytes(), text.len());
        text
    });
    assert!(format!("{train}{validation}") == text, "each byte is in one of the parts, in order");
    let share = validation.len() as f64 / text.len() as f64;
    assert!((share - 0.25).abs() < 0.001, "{share}");
    assert!(validation.starts_with(char::is_whitespace) && !train.ends_with(char::is_whitespace));
    Ok(())
}

#[test]
fn the_shortest_texts_are_split_within_a_word() -> Result<()> {
    for text in ["ab", "नमस्ते", "one document"] {
        let folder = tempfile::tempdir()?;
        let data = dataset(folder.path(), text)?;
        let parts = [&data.train, &data.validation];
        assert!(parts.iter().all(|part| part.n_text_bytes() > 0 && part.n_documents() == 1));
        assert_eq!(parts.iter().map(|part| part.n_text_bytes()).sum::<usize>(), text.len());
    }
    let folder = tempfile::tempdir()?;
    let one_character = dataset(folder.path(), "a")?;
    assert_eq!((one_character.train.len(), one_character.validation.len()), (2, 0));
    Ok(())
}

#[test]
fn tokens_take_two_bytes_up_to_65536_ids_and_four_above() -> Result<()> {
    for (vocab_size, values) in [(1 << 16, [0, 258, 65_535]), ((1 << 16) + 1, [1, 65_536, 9])] {
        let (folder, file) = token_file(&values, vocab_size)?;
        assert_eq!((file.read(0..3)?, file.len(), file.n_text_bytes()), (values.to_vec(), 3, 7));
        assert_eq!(file.document_range(0)?, 0..3);
        assert!(file.read(2..4).is_err());
        // The crate `safetensors` reads the same.
        let bytes = std::fs::read(folder.path().join("tokens.safetensors"))?;
        let tensors = safetensors::SafeTensors::deserialize(&bytes)?;
        let dtype =
            if vocab_size == 1 << 16 { safetensors::Dtype::U16 } else { safetensors::Dtype::U32 };
        assert_eq!(
            (tensors.tensor("tokens")?.dtype(), tensors.tensor("tokens")?.shape()),
            (dtype, &[3][..])
        );
        assert_eq!(tensors.tensor("document_ends")?.data(), 3u64.to_le_bytes());
    }
    Ok(())
}

#[test]
fn damaged_files_and_files_of_another_tokenizer_are_refused() -> Result<()> {
    let (folder, file) = token_file(&[5; 1000], 300)?;
    let path = folder.path().join("tokens.safetensors");
    let error = |opened: Result<TokenFile>| format!("{:#}", opened.expect_err("refused"));
    assert!(error(TokenFile::open(&path, "theirs")).contains("different tokenizer"));
    drop(file);
    let intact = std::fs::read(&path)?;
    for at in (0..intact.len()).step_by(97).chain([0, 9, intact.len() - 9, 1100]) {
        let mut bytes = intact.clone();
        bytes[at] ^= 4;
        std::fs::write(&path, &bytes)?;
        // A flipped bit in the header may be harmless: padding, or the count of text bytes.
        assert!(at < 1032 || TokenFile::open(&path, "ours").is_err(), "byte {at}");
        std::fs::write(&path, &intact[..at])?;
        error(TokenFile::open(&path, "ours"));
    }
    let error = token_file(&[299, 300], 300).expect_err("refused").to_string();
    assert!(error.contains("token 300 is outside the vocabulary of 300"), "{error}");
    let (folder, file) = token_file(&[299, 300], 301)?;
    drop(file);
    let path = folder.path().join("tokens.safetensors");
    let mut bytes = std::fs::read(&path)?;
    let size = bytes.windows(3).position(|window| window == b"301").expect("the vocabulary size");
    bytes[size + 2] = b'0';
    std::fs::write(&path, bytes)?;
    let file = TokenFile::open(&path, "ours")?;
    assert!(file.read(0..1).is_ok());
    assert!(file.read(0..2).expect_err("refused").to_string().contains("outside the vocabulary"));
    Ok(())
}

/// The checksum of a crafted file is right.
#[test]
fn a_document_that_ends_before_it_begins_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("tokens.safetensors");
    let mut data = [5u16, 6, 7, 8].map(u16::to_le_bytes).concat();
    data.extend([3u64, 1].map(u64::to_le_bytes).concat());
    let header = serde_json::json!({
        "__metadata__": {
            "vocab_size": "9", "text_bytes": "4", "tokenizer": "ours",
            "sha256": tensor_core::sha256::hash_bytes(&data),
        },
        "tokens": { "dtype": "U16", "shape": [4], "data_offsets": [0, 8] },
        "document_ends": { "dtype": "U64", "shape": [2], "data_offsets": [8, 24] },
    });
    let header = header.to_string();
    let length = (header.len() as u64).to_le_bytes();
    std::fs::write(&path, [&length, header.as_bytes(), &data].concat())?;
    let file = TokenFile::open(&path, "ours")?;
    assert_eq!(file.document_range(0)?, 0..3);
    assert!(file.document_range(1).expect_err("refused").to_string().contains("out of range"));
    Ok(())
}

#[test]
fn ids_of_a_vocabulary_with_gaps_are_stored_whole() -> Result<()> {
    // Three tokens, but ids that do not fit into 16 bits.
    let vocab = serde_json::json!({ "a": 0, "<end>": 1, "b": 65_541 });
    let json = serde_json::json!({
        "version": "1.0",
        "pre_tokenizer": { "type": "Whitespace" },
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "a" },
    });
    let special = TokenizerSpecialTokens { eos: Some(1), ..TokenizerSpecialTokens::default() };
    let tokenizer = Tokenizer::from_json(json, special)?;
    let folder = tempfile::tempdir()?;
    let text = folder.path().join("text.txt");
    std::fs::write(&text, "a b\n<|endoftext|>\na b")?;
    let out = folder.path().join("tokens");
    std::fs::create_dir_all(&out)?;
    tokenize(&TextCorpus::open(&text)?, &tokenizer, SPLIT, &out, |_| {})?;
    let data = Dataset::open(&out)?;
    assert_eq!(data.tokenizer.vocab_size(), 65_542);
    assert_eq!(data.train.read(0..3)?, [0, 65_541, 1]);
    assert_eq!(data.validation.read(0..3)?, [0, 65_541, 1]);
    Ok(())
}

/// Pairs of input and target, without ignored targets, of `n_windows` windows read `b` at a time.
fn read_pairs(
    data_loader: &mut DataLoader<'_>,
    state: &mut LoaderState,
    n_windows: usize,
    b: usize,
) -> Result<Vec<(u32, i64)>> {
    let mut pairs = Vec::new();
    for _ in 0..n_windows / b {
        let batch = data_loader.next_batch(state, b, &Device::Cpu)?;
        let inputs: Vec<u32> = batch.inputs.flatten_all()?.to_vec1()?;
        let targets: Vec<i64> = batch.targets.flatten_all()?.to_vec1()?;
        pairs.extend(inputs.into_iter().zip(targets).filter(|(_, t)| *t != IGNORE_INDEX));
    }
    Ok(pairs)
}

#[test]
fn each_epoch_predicts_every_token_once_in_its_own_order() -> Result<()> {
    let all: Vec<u32> = (0..1003).collect();
    let (_folder, file) = token_file(&all, 2000)?;
    let mut data_loader = DataLoader::new(&file, 10, 1)?;
    assert_eq!(data_loader.n_windows(), 101, "the last window has two targets");
    let mut state = LoaderState::default();
    let mut read_epoch = || read_pairs(&mut data_loader, &mut state, 101, 1);
    let epochs = [read_epoch()?, read_epoch()?];
    assert_eq!(state, LoaderState { epoch: 1, window: 101 });
    for epoch in &epochs {
        assert!(epoch.iter().all(|&(input, target)| i64::from(input) + 1 == target));
        let mut targets: Vec<i64> = epoch.iter().map(|pair| pair.1).collect();
        assert!(!targets.is_sorted());
        targets.sort_unstable();
        assert!(targets.iter().copied().eq(1..1003));
    }
    assert_ne!(epochs[0], epochs[1]);
    let mut other_seed = DataLoader::new(&file, 10, 2)?;
    let other = read_pairs(&mut other_seed, &mut LoaderState::default(), 101, 1)?;
    assert_ne!(epochs[0], other, "the order depends on the seed");
    Ok(())
}

#[test]
fn a_saved_loader_state_resumes_at_its_window_across_epochs() -> Result<()> {
    let (_folder, file) = token_file(&(0..250).collect::<Vec<_>>(), 300)?;
    let mut state = LoaderState::default();
    let uninterrupted = read_pairs(&mut DataLoader::new(&file, 8, 5)?, &mut state, 96, 4)?;
    let mut resumed_state = LoaderState::default();
    let mut resumed = read_pairs(&mut DataLoader::new(&file, 8, 5)?, &mut resumed_state, 40, 4)?;
    let saved = serde_json::to_string(&resumed_state)?;
    let mut resumed_state: LoaderState = serde_json::from_str(&saved)?;
    resumed.extend(read_pairs(&mut DataLoader::new(&file, 8, 5)?, &mut resumed_state, 56, 4)?);
    assert_eq!((uninterrupted, state), (resumed, resumed_state));
    Ok(())
}

#[test]
fn a_data_loader_needs_at_least_two_tokens() -> Result<()> {
    for (values, is_enough) in [(&[][..], false), (&[1], false), (&[1, 2], true)] {
        let (_folder, file) = token_file(values, 300)?;
        assert_eq!(DataLoader::new(&file, 8, 0).is_ok(), is_enough);
    }
    Ok(())
}
