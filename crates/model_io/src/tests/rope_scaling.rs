use anyhow::Result;
use serde_json::{Value, json};
use tensor_core::testing::assert_close;

use super::error;
use crate::config::{RopeParameters, RopeScaling};
use crate::config_json::{from_json, to_json};

/// `config.json` with `changes`, and transformers' results, from `scripts/golden_rope.py`.
fn golden() -> Value {
    serde_json::from_str(include_str!("../../tests/golden/rope.json")).expect("JSON")
}

fn config_with(changes: &Value) -> Value {
    let mut json = golden()["sizes"].clone();
    json["model_type"] = json!("llama");
    let (fields, changes) = (json.as_object_mut(), changes.as_object());
    fields.expect("an object").extend(changes.expect("an object").clone());
    json
}

#[test]
fn scaled_frequencies_equal_those_of_transformers() -> Result<()> {
    for case in golden()["cases"].as_array().expect("cases") {
        let text_len = case["text_len"].as_u64().expect("a length") as usize;
        println!("{}, {text_len} tokens", case["config"]);
        let config = from_json(&config_with(&case["config"]))?;
        let rope = config.attention.position.rope_parameters();
        let Some(RopeParameters { base, scaling: Some(scaling), .. }) = rope else {
            panic!("{:?}", config.attention.position)
        };
        let d = config.attention.head_dim;
        let unscaled: Vec<f64> = (0..d / 2).map(|i| base.powf(-2. * i as f64 / d as f64)).collect();
        let scaled = scaling.scale(&unscaled, base, text_len);
        let expected: Vec<f64> = serde_json::from_value(case["inv_freq"].clone())?;
        assert_eq!(scaled.len(), expected.len());
        for (scaled, expected) in scaled.into_iter().zip(expected) {
            assert_close(scaled / expected, 1., 2e-6); // theirs are f32
        }
        let expected = case["attention_factor"].as_f64().expect("a number");
        assert_close(scaling.attention_factor(), expected, 1e-12);
    }
    Ok(())
}

#[test]
fn every_scaling_survives_a_round_trip_in_both_spellings() -> Result<()> {
    for case in golden()["cases"].as_array().expect("cases") {
        let config = from_json(&config_with(&case["config"]))?;
        let mut json = to_json(&config);
        assert_eq!(json["model_type"], "llama");
        assert_eq!(from_json(&json)?, config);
        let fields = json.as_object_mut().expect("an object");
        let old = fields.remove("rope_scaling").expect("the key of transformers 4");
        assert_eq!(from_json(&json)?, config, "`rope_parameters` alone");
        let fields = json.as_object_mut().expect("an object");
        fields.remove("rope_parameters");
        fields.insert("rope_scaling".into(), old);
        assert_eq!(from_json(&json)?, config, "`rope_scaling` alone");
    }
    Ok(())
}

#[test]
fn a_default_attention_factor_is_not_written() -> Result<()> {
    let yarn = |changes: Value| -> Result<Value> {
        let mut scaling = json!({ "rope_type": "yarn", "factor": 4. });
        scaling
            .as_object_mut()
            .expect("fields")
            .extend(changes.as_object().cloned().into_iter().flatten());
        Ok(to_json(&from_json(&config_with(&json!({ "rope_scaling": scaling })))?)["rope_scaling"]
            .take())
    };
    assert_eq!(yarn(json!({}))?.get("attention_factor"), None);
    assert_eq!(yarn(json!({ "attention_factor": 1.5 }))?["attention_factor"], 1.5);
    Ok(())
}

#[test]
fn invalid_scalings_are_refused_by_name() {
    let refused =
        |scaling: Value| error(from_json(&config_with(&json!({ "rope_scaling": scaling }))));
    for kind in ["linear", "dynamic", "yarn", "llama3"] {
        assert!(refused(json!({ "type": kind })).contains("`factor` is missing"), "{kind}");
        let negative = json!({
            "type": kind, "factor": -1., "low_freq_factor": 1., "high_freq_factor": 4.
        });
        assert!(refused(negative).contains("factor must be"), "{kind}");
    }
    let equal = refused(json!({
        "type": "llama3", "factor": 8., "low_freq_factor": 4., "high_freq_factor": 4.
    }));
    assert!(equal.contains("must be below `high_freq_factor`, 4"), "{equal}");
    let yarn = |key: &str, value: Value| {
        let mut scaling = json!({ "type": "yarn", "factor": 4. });
        scaling[key] = value;
        refused(scaling)
    };
    assert!(yarn("beta_fast", json!(0)).contains("`beta_fast` must be above 0, got 0"));
    assert!(yarn("beta_slow", json!("1")).contains("`beta_slow` is \"1\""));
    assert!(yarn("attention_factor", json!(0)).contains("`attention_factor` must be above 0"));
    assert!(yarn("truncate", json!(false)).contains("`truncate`"));
    assert!(yarn("rope_theta", json!(1)).contains("YaRN needs a RoPE base above 1"));
    let zero = yarn("original_max_position_embeddings", json!(0));
    assert!(zero.contains("`original_max_position_embeddings` of the RoPE scaling is 0"));
}

#[test]
fn dynamic_scaling_begins_where_the_context_ends() {
    let scaling = RopeScaling::Dynamic { factor: 4., original_context_len: 100 };
    let unscaled = [1., 0.1, 0.01];
    assert_eq!(scaling.scale(&unscaled, 1000., 100), unscaled);
    let scaled = scaling.scale(&unscaled, 1000., 200); // stretch 4 · 2 − 3 = 5
    assert_close(scaled[0], 1., 1e-12);
    assert_close(scaled[1], 0.1 / 5f64.sqrt(), 1e-12);
    assert_close(scaled[2], 0.01 / 5., 1e-12);
}
