use anyhow::Result;

use crate::gguf_tokenizer::{CONTROL, NORMAL, UNKNOWN};
use crate::{GgufTokenizer, SkipSpecialTokens, Tokenizer};

const BOS: u32 = 1;
const SPACE_A: u32 = 2;

/// A sentencepiece tokenizer of three tokens.
fn tokenizer() -> Result<Tokenizer> {
    Tokenizer::from_gguf(&GgufTokenizer {
        model: "llama".into(),
        tokens: ["<unk>", "<s>", "▁a"].map(String::from).into(),
        scores: vec![0.; 3],
        token_type: vec![UNKNOWN, CONTROL, NORMAL],
        bos: Some(BOS),
        ..GgufTokenizer::default()
    })
}

#[test]
fn hidden_tokens_without_end_leave_nothing_behind() -> Result<()> {
    let (tokenizer, beyond) = (tokenizer()?, 99);
    let mut stream = tokenizer.stream(SkipSpecialTokens::Yes, &[]);
    assert_eq!(stream.push(SPACE_A)?, "a");
    for hidden in [BOS, beyond] {
        for _ in 0..1000 {
            assert_eq!(stream.push(hidden)?, "");
            assert!(stream.window.len() < 3, "{} tokens wait", stream.window.len());
        }
        assert_eq!(stream.push(SPACE_A)?, " a"); // the space shows that the text before is not forgotten
    }
    let mut shown = tokenizer.stream(SkipSpecialTokens::No, &[]);
    assert_eq!(shown.push(BOS)?, "<s>");
    Ok(())
}

#[test]
fn a_text_goes_on_after_hidden_tokens_as_after_what_was_before_them() -> Result<()> {
    let tokenizer = tokenizer()?;
    let before = [vec![SPACE_A], vec![BOS; 50]].concat();
    assert_eq!(tokenizer.stream(SkipSpecialTokens::Yes, &before).push(SPACE_A)?, " a");
    Ok(())
}
