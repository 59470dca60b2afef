//! 4.1: the trained tokenizer equals [`Bpe`], however many files it is trained on.

use anyhow::Result;
use datasets::TextCorpus;
use datasets::builtin_text::BuiltinText;
use model_io::{
    AddSpecialTokens, ParseSpecial, SkipSpecialTokens, Tokenizer, TokenizerSpecialTokens,
};

use crate::Bpe;
use crate::tokenizer_training::{train_on_corpus, train_tokenizer};

#[test]
fn training_on_a_file_equals_training_on_its_text() -> Result<()> {
    let text = BuiltinText::English.text().trim();
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("a.txt"), text)?;
    let corpus = TextCorpus::open(folder.path())?;
    let tokenizer = train_on_corpus(&corpus, 600, |_| {})?;
    let bpe = Bpe::train(text, 600);
    let ids = tokenizer.encode(text, AddSpecialTokens::Yes, ParseSpecial::No)?;
    assert_eq!(ids, bpe.encode(text));
    assert_eq!(tokenizer.decode(&ids, SkipSpecialTokens::No)?, text);
    let expected = text.len() as f64 / ids.len() as f64;
    assert!((corpus.bytes_per_token(&tokenizer)? - expected).abs() < 1e-9 || text.len() > 1 << 20);
    Ok(())
}

#[test]
fn special_tokens_are_parsed_only_on_request() -> Result<()> {
    let tokenizer = train_tokenizer(["<s>hello</s> <mask> ".repeat(9)].into_iter(), 300)?;
    let special = TokenizerSpecialTokens { bos: Some(0), eos: Some(1), unk: Some(3), pad: Some(2) };
    assert_eq!(tokenizer.special_tokens(), special);
    let text = "<s>hello<mask></s>";
    let plain = tokenizer.encode(text, AddSpecialTokens::Yes, ParseSpecial::No)?;
    assert!(plain.iter().all(|&id| id >= 5), "{plain:?}");
    let tokens = tokenizer.encode(text, AddSpecialTokens::Yes, ParseSpecial::Yes)?;
    assert_eq!(tokens.iter().filter(|&&id| id < 5).collect::<Vec<_>>(), [&0, &4, &1]);
    assert_eq!(tokenizer.decode(&tokens, SkipSpecialTokens::Yes)?, "hello");
    Ok(())
}

#[test]
fn a_saved_tokenizer_loads_with_the_same_ids() -> Result<()> {
    let text = BuiltinText::Hindi.text();
    let tokenizer = train_tokenizer([text].into_iter(), 500)?;
    let folder = tempfile::tempdir()?;
    tokenizer.save(folder.path(), 256, None)?;
    let loaded = Tokenizer::open(folder.path())?;
    assert_eq!(loaded.special_tokens(), tokenizer.special_tokens());
    let ids =
        |tokenizer: &Tokenizer| tokenizer.encode(text, AddSpecialTokens::Yes, ParseSpecial::No);
    assert_eq!(ids(&loaded)?, ids(&tokenizer)?);
    Ok(())
}
