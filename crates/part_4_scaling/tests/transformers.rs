//! 4.1: transformers loads a saved tokenizer.
//!
//! The test runs if `$COURSE_PYTHON` (else `python3`) has transformers. Otherwise it prints that it
//! is skipped.

use anyhow::Result;
use datasets::builtin_text::BuiltinText;
use model_io::{AddSpecialTokens, ParseSpecial, SkipSpecialTokens};
use scaling::tokenizer_training::train_tokenizer;
use serde_json::{Value, json};
use tensor_core::testing::assert_python_agrees;

const TEXTS: [&str; 7] = [
    "",
    " ",
    "Once upon a time, there were 123 cats.",
    "  two spaces in front, a tab\tand\r\n\nnewlines  ",
    "नमस्ते दुनिया 😀👩‍👩‍👧 café e\u{301} ﬁ\u{3000}x",
    "<s>a</s> b <unk> c <mask><pad>",
    "don't WE'LL fn main() { a[0] += 1; }",
];

#[test]
fn transformers_gives_the_same_ids_and_texts_as_the_tokenizer() -> Result<()> {
    let texts = [BuiltinText::English.text(), BuiltinText::Hindi.text()];
    let tokenizer = train_tokenizer(texts.into_iter(), 1000)?;
    let folder = tempfile::tempdir()?;
    tokenizer.save(folder.path(), 512, None)?;
    let cases = TEXTS.map(|text| -> Result<Value> {
        let ids = tokenizer.encode(text, AddSpecialTokens::Yes, ParseSpecial::Yes)?;
        Ok(json!({
            "text": text,
            "ids": ids,
            "shown": tokenizer.decode(&ids, SkipSpecialTokens::No)?,
            "hidden": tokenizer.decode(&ids, SkipSpecialTokens::Yes)?,
        }))
    });
    let special = tokenizer.special_tokens();
    let check = json!({
        "vocab_size": tokenizer.vocab_size(),
        "context": 512,
        "special": {
            "bos_token": special.bos, "eos_token": special.eos,
            "unk_token": special.unk, "pad_token": special.pad,
        },
        "texts": cases.into_iter().collect::<Result<Vec<_>>>()?,
    });
    let file = folder.path().join("check.json");
    std::fs::write(&file, check.to_string())?;
    assert_python_agrees("check_trained_tokenizer.py", [folder.path(), &file]);
    Ok(())
}
