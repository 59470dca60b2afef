use anyhow::Result;
use serde_json::json;

use crate::gguf_tokenizer::{CONTROL, NORMAL, UNKNOWN};
use crate::{GgufTokenizer, SkipSpecialTokens, Tokenizer, TokenizerSpecialTokens};

const BOS: u32 = 1;
const SPACE_A: u32 = 2;

/// Sentencepiece tokenizer of three tokens.
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
fn endless_skipped_tokens_do_not_grow_the_window() -> Result<()> {
    let (tokenizer, outside_vocab) = (tokenizer()?, 99);
    let mut stream = tokenizer.stream(SkipSpecialTokens::Yes, &[]);
    assert_eq!(stream.push(SPACE_A)?, "a");
    for skipped in [BOS, outside_vocab] {
        for _ in 0..1000 {
            assert_eq!(stream.push(skipped)?, "");
            assert!(stream.window.len() < 3, "{} tokens in the window", stream.window.len());
        }
        // The space shows that the preceding text is still known.
        assert_eq!(stream.push(SPACE_A)?, " a");
    }
    let mut stream = tokenizer.stream(SkipSpecialTokens::No, &[]);
    assert_eq!(stream.push(BOS)?, "<s>");
    Ok(())
}

#[test]
fn a_decoder_that_joins_equal_tokens_does_not_grow_the_window() -> Result<()> {
    let ctc = json!({
        "type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": false
    });
    let model = json!({ "type": "WordLevel", "vocab": { "\u{fffd}": 0 }, "unk_token": "\u{fffd}" });
    let json = json!({ "version": "1.0", "decoder": ctc, "model": model });
    let tokenizer = Tokenizer::from_json(json, TokenizerSpecialTokens::default())?;
    let mut stream = tokenizer.stream(SkipSpecialTokens::No, &[]);
    for _ in 0..1000 {
        stream.push(0)?;
        assert!(stream.window.len() < 300, "{} tokens in the window", stream.window.len());
    }
    Ok(())
}

#[test]
fn a_stream_looks_past_skipped_tokens_for_its_context() -> Result<()> {
    let tokenizer = tokenizer()?;
    let before = [vec![SPACE_A], vec![BOS; 50]].concat();
    assert_eq!(tokenizer.stream(SkipSpecialTokens::Yes, &before).push(SPACE_A)?, " a");
    Ok(())
}
