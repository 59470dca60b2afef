//! Tokenizer and weights that inputs are opened with: a tokenizer of bytes, and a model of two
//! layers.

use candle_core::{DType, Device};
use model_io::{ModelConfig, Tokenizer, TokenizerSpecialTokens};
use modern::GptModern;
use serde_json::{Map, Value, json};
use tensor_core::{Init, Parameters, WeightDecay};

/// Special tokens of [`tokenizer`], from id 256 on: bos, and the markers of ChatML.
pub const SPECIAL_TOKENS: [&str; 4] = ["<s>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"];

/// Content of a `tokenizer.json` with the 256 bytes and [`SPECIAL_TOKENS`], which decodes every
/// text to itself.
pub fn tokenizer_json() -> Value {
    let vocab = (0..=255u8).map(|byte| (character(byte).to_string(), json!(byte)));
    let added = (256..).zip(SPECIAL_TOKENS).map(|(id, token)| {
        json!({
            "id": id, "content": token, "special": true, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false
        })
    });
    let bytes = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false
    });
    json!({
        "version": "1.0", "added_tokens": added.collect::<Vec<_>>(), "pre_tokenizer": bytes,
        "decoder": bytes, "model": {
            "type": "BPE", "vocab": vocab.collect::<Map<_, _>>(), "merges": []
        }
    })
}

/// Character that stands for a byte in byte-level BPE: itself if it can be printed, else one from
/// U+0100 on.
fn character(byte: u8) -> char {
    let is_printed = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match is_printed(byte) {
        true => char::from(byte),
        false => {
            let n_before = (0..byte).filter(|&before| !is_printed(before)).count();
            char::from_u32(0x100 + n_before as u32).expect("it is below U+0200")
        }
    }
}

/// Tokenizer of bytes.
pub fn tokenizer() -> Tokenizer {
    let special =
        TokenizerSpecialTokens { bos: Some(256), eos: Some(258), unk: None, pad: Some(259) };
    Tokenizer::from_json(tokenizer_json(), special).expect("the tokenizer is valid")
}

/// Architecture of a tiny Llama.
pub fn config() -> ModelConfig {
    model_io::testing::tiny()
}

/// Weights of the tiny Llama.
pub fn parameters() -> Parameters {
    let mut parameters = Parameters::seeded(0, DType::F32, &Device::Cpu);
    GptModern::new(&config(), parameters.root()).expect("the sizes are valid");
    parameters
}

/// Weights of one linear layer, for states of training.
pub fn first_layer() -> Parameters {
    let mut parameters = Parameters::seeded(0, DType::F32, &Device::Cpu);
    let mut root = parameters.root();
    let mut layer = root.at("layer");
    for (name, shape) in [("weight", vec![3, 2]), ("bias", vec![3])] {
        let parameter = layer.parameter(name, shape, Init::Normal { std: 1. }, WeightDecay::Yes);
        parameter.expect("the sizes are valid");
    }
    parameters
}
