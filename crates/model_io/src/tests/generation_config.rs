use anyhow::Result;
use serde_json::{Value, json};

use super::error;
use crate::GenerationConfig;

fn read(json: &Value) -> Result<Option<GenerationConfig>> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("generation_config.json"), json.to_string())?;
    GenerationConfig::open(folder.path())
}

const GREEDY: GenerationConfig = GenerationConfig {
    temperature: 0.,
    top_k: Some(50),
    top_p: None,
    min_p: None,
    repetition_penalty: 1.,
};

#[test]
fn missing_settings_have_the_defaults_of_transformers() -> Result<()> {
    assert_eq!(read(&json!({ "eos_token_id": 2 }))?, None);
    // As in transformers, generation is greedy without `do_sample`.
    assert_eq!(read(&json!({ "temperature": 0.6 }))?, None);
    assert_eq!(read(&json!({ "do_sample": false }))?, Some(GREEDY));
    let penalized = GenerationConfig { repetition_penalty: 1.1, ..GREEDY };
    assert_eq!(read(&json!({ "repetition_penalty": 1.1 }))?, Some(penalized));
    let default = GenerationConfig { temperature: 1., ..GREEDY };
    assert_eq!(read(&json!({ "do_sample": true }))?, Some(default));
    // The file of Qwen2.5-0.5B-Instruct.
    let qwen = json!({
        "do_sample": true, "repetition_penalty": 1.1,
        "temperature": 0.7, "top_p": 0.8, "top_k": 20
    });
    let expected = GenerationConfig {
        temperature: 0.7,
        top_k: Some(20),
        top_p: Some(0.8),
        min_p: None,
        repetition_penalty: 1.1,
    };
    assert_eq!(read(&qwen)?, Some(expected));
    let all = json!({ "do_sample": true, "top_k": 0, "min_p": 0.1 });
    let expected = GenerationConfig { top_k: None, min_p: Some(0.1), ..default };
    assert_eq!(read(&all)?, Some(expected));
    Ok(())
}

#[test]
fn an_invalid_number_is_named() {
    for (key, value) in
        [("temperature", json!(-1)), ("top_p", json!(0)), ("repetition_penalty", json!(0))]
    {
        let message = error(read(&json!({ "do_sample": true, key: value })));
        assert!(message.contains(&format!("`{key}` is {value}")), "{message}");
    }
    assert!(error(read(&json!({ "do_sample": "yes" }))).contains("`do_sample` is \"yes\""));
    assert!(error(read(&json!({ "top_k": -1 }))).contains("`top_k` is -1"));
}
