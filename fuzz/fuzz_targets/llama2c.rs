//! Checkpoints and tokenizers of llama2.c. The first byte says what the rest is: a whole
//! checkpoint, the header of one whose tensors are added, a whole tokenizer, or the tokens of one
//! after those that every tokenizer has.
#![no_main]

use std::cell::RefCell;

use fuzz::Scratch;
use libfuzzer_sys::fuzz_target;
use model_io::{
    AddSpecialTokens, ParseSpecial, SkipSpecialTokens, Tokenizer, llama2c, llama2c_tokenizer,
};

/// Limit of the length of a checkpoint.
const MAX_BYTES: i64 = 1 << 18;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new("llama2c"));
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    SCRATCH.with_borrow_mut(|scratch| match kind % 4 {
        0 => check_model(scratch, bytes),
        1 => check_model(scratch, &completed(bytes)),
        2 => drop(opened_tokenizer(scratch, bytes)),
        _ => check_tokenizer(scratch, &[&first_tokens()[..], bytes].concat()),
    });
});

fn check_model(scratch: &mut Scratch, bytes: &[u8]) {
    let path = scratch.write("model.bin", bytes);
    let Ok((config, tensors)) = llama2c::open(&path) else { return };
    config.validate().expect("the configuration of a model that opens is valid");
    let n: usize = tensors.values().map(|tensor| tensor.elem_count()).sum();
    assert_eq!(n as f64, config.parameter_count());
}

/// Checkpoint with the sizes of a header, and as many numbers as they claim.
fn completed(bytes: &[u8]) -> Vec<u8> {
    let mut file = bytes.to_vec();
    file.resize(file.len().max(28), 1);
    let size = |i: usize| {
        let bytes: [u8; 4] = file[4 * i..4 * i + 4].try_into().expect("there are four");
        i128::from(i32::from_le_bytes(bytes))
    };
    let [c, f, layers, heads, kv_heads, v, t] = std::array::from_fn(size);
    let head_dim = c / heads.max(1);
    let kv = kv_heads * head_dim;
    let layer = 2 * c + 2 * c * c + 2 * kv * c + 3 * f * c;
    let head = if v < 0 { v.abs() * c } else { 0 };
    let length = 28 + 4 * (v.abs() * c + layers * layer + c + t * head_dim + head);
    if (28..i128::from(MAX_BYTES)).contains(&length) {
        file.resize(length as usize, 0x3d);
    }
    file
}

fn opened_tokenizer(scratch: &mut Scratch, bytes: &[u8]) -> Option<Tokenizer> {
    let path = scratch.write("tokenizer.bin", bytes);
    llama2c_tokenizer::open(&path).ok()
}

/// Every text is decoded to itself.
fn check_tokenizer(scratch: &mut Scratch, bytes: &[u8]) {
    let Some(tokenizer) = opened_tokenizer(scratch, bytes) else { return };
    for text in ["Hello <s> नम 12\n", " ", ""] {
        let ids = tokenizer.encode(text, AddSpecialTokens::No, ParseSpecial::No);
        let ids = ids.expect("every byte has a token");
        let decoded = tokenizer.decode(&ids, SkipSpecialTokens::No);
        assert_eq!(decoded.expect("its decoder is ours"), text);
    }
}

/// Start of a tokenizer file: the length of the longest token, the tokens of sentencepiece, and the
/// space, which else would be the bytes of `▁` when it is decoded.
fn first_tokens() -> Vec<u8> {
    let mut file = 8u32.to_le_bytes().to_vec();
    let bytes = (0..=255u8).map(|byte| format!("<0x{byte:02X}>"));
    let control = ["<unk>", "\n<s>\n", "\n</s>\n"].map(String::from).into_iter();
    for token in control.chain(bytes).chain([" ".to_string()]) {
        file.extend(0f32.to_le_bytes());
        file.extend((token.len() as u32).to_le_bytes());
        file.extend(token.bytes());
    }
    file
}
