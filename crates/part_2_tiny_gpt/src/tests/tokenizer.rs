use crate::{ByteTokenizer, StreamDecoder};

const TEXT: &str = "Hello, ByteTok! äö नमस्ते 🙂";

#[test]
fn decoding_inverts_encoding() {
    let tokens = ByteTokenizer.encode(TEXT);
    assert_eq!(tokens.len(), TEXT.len());
    assert_eq!(ByteTokenizer.decode(&tokens), TEXT);
    assert_eq!(ByteTokenizer.encode("aé"), [97, 195, 169]);
}

#[test]
fn the_stream_decoder_emits_whole_characters_and_loses_none() {
    let mut stream = StreamDecoder::default();
    let mut text = String::new();
    for token in ByteTokenizer.encode(TEXT) {
        let piece = stream.push(token);
        assert!(
            !piece.contains(char::REPLACEMENT_CHARACTER),
            "an incomplete character was emitted"
        );
        text.push_str(&piece);
    }
    assert_eq!(text, TEXT);
    assert_eq!(stream.finish(), "");
}

#[test]
fn invalid_utf8_is_replaced_and_the_text_after_it_is_kept() {
    let invalid = [b"ab".as_slice(), &[0xE0, 0xA4], b"c\xFFd", &[0xF0, 0x9F]].concat();
    let text = ByteTokenizer.decode(&ByteTokenizer.encode(&invalid));
    assert_eq!(text, "ab\u{FFFD}c\u{FFFD}d\u{FFFD}");
    assert_eq!(text, String::from_utf8_lossy(&invalid));
}

#[test]
fn tokenizer_json_has_every_byte_once_with_gpt2s_spelling() {
    let json = ByteTokenizer.to_json();
    let vocab = json["model"]["vocab"].as_object().unwrap();
    assert_eq!(vocab.len(), 256);
    // From GPT-2's vocab.json: space is Ġ, newline Ċ, the bytes of é are Ã and ©, soft hyphen is Ń.
    for (spelled, byte) in [("Ġ", 32), ("Ċ", 10), ("Ã", 195), ("©", 169), ("A", 65), ("Ń", 173)]
    {
        assert_eq!(vocab[spelled], byte);
    }
    assert_eq!(json["model"]["merges"].as_array().unwrap().len(), 0);
}
