//! Tokenizers of `tokenizers.json`, in the form of GGUF metadata.

use model_io::GgufTokenizer;
use serde_json::Value;

/// Contents of the file: tokenizer metadata, and transformers' results for a few texts.
pub(crate) fn golden() -> Value {
    serde_json::from_str(include_str!("tokenizers.json")).unwrap()
}

/// Metadata of the `byte_level` or the `sentencepiece` tokenizer.
pub(crate) fn parts(name: &str) -> GgufTokenizer {
    let json = &golden()[name];
    let list = |key: &str| json[key].as_array().cloned().unwrap_or_default();
    let strings = |key: &str| list(key).iter().map(|s| s.as_str().unwrap().to_string()).collect();
    GgufTokenizer {
        model: json["model"].as_str().unwrap().to_string(),
        tokens: strings("tokens"),
        merges: strings("merges"),
        scores: list("scores").iter().map(|x| x.as_f64().unwrap() as f32).collect(),
        token_type: list("token_type").iter().map(|x| x.as_i64().unwrap() as i32).collect(),
        bos: Some(1),
        eos: Some(2),
        ..GgufTokenizer::default()
    }
}
