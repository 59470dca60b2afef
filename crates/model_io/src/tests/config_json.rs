use anyhow::Result;
use serde_json::{Map, Value, json};
use tensor_core::ops::Gelu;

use super::error;
use crate::config::{AttentionBias, LmHead, Mlp, NormKind, QkNorm};
use crate::config_json::{from_json, to_custom_json, to_json};
use crate::testing::{rope_in_every_other_layer, variants};
use crate::{ModelConfig, SlidingWindow};

/// Expected values from transformers, written by `scripts/golden_config.py`.
fn golden() -> Value {
    serde_json::from_str(include_str!("../../tests/golden/configs.json")).expect("JSON")
}

fn config_with(changes: &Value) -> Value {
    let mut json = golden()["sizes"].clone();
    let (fields, changes) = (json.as_object_mut(), changes.as_object());
    fields.expect("an object").extend(changes.expect("an object").clone());
    json
}

/// Config in the format of the golden file.
fn to_golden_json(config: &ModelConfig) -> Value {
    let attention = config.attention;
    let NormKind::Rms { eps } = config.norm else { panic!("{:?}", config.norm) };
    json!({
        "head_dim": attention.head_dim, "n_kv_head": attention.n_kv_head,
        "context": config.context_len,
        "windows": vec![attention.sliding_window().map(|window| window.size); config.n_layer],
        "qkv_bias": attention.bias != AttentionBias::None,
        "o_bias": attention.bias == AttentionBias::All,
        "qk_norm": attention.logits.qk_norm == QkNorm::PerHead, "eps": eps,
        "tied": config.lm_head == LmHead::Tied, "rope": to_json(config)["rope_parameters"],
    })
}

#[test]
fn missing_keys_have_the_defaults_of_transformers() -> Result<()> {
    for case in golden()["cases"].as_array().expect("cases") {
        let (parsed, change) = (from_json(&config_with(&case["config"])), &case["config"]);
        let Some(expected) = case["found"].as_object() else {
            assert!(parsed.is_err(), "transformers refuses {change}: {}", case["error"]);
            continue;
        };
        let mut expected: Map<String, Value> = expected.clone();
        expected["rope"].as_object_mut().expect("rope").remove("type"); // old `rope_type`
        let windows = expected["windows"].as_array().expect("windows");
        if windows.iter().any(|window| *window != windows[0]) {
            assert!(error(parsed).contains("only 1 of 2 layers have a window"), "{change}");
            continue;
        }
        assert_eq!(to_golden_json(&parsed?), Value::Object(expected), "{change}");
    }
    Ok(())
}

#[test]
fn layer_types_decide_which_layers_have_a_window() -> Result<()> {
    let window = |family: &str, kinds: Value| {
        let changes = json!({
            "model_type": family, "layer_types": kinds,
            "sliding_window": 6, "use_sliding_window": true
        });
        Ok(from_json(&config_with(&changes))?.attention.sliding_window())
    };
    let (full, sliding) = ("full_attention", "sliding_attention");
    // Transformers calls a Mistral with `layer_types` Ministral.
    for family in ["mistral", "qwen2", "qwen3"] {
        assert_eq!(window(family, json!([full, full]))?, None);
        assert_eq!(
            window(family, json!([sliding, sliding]))?,
            Some(SlidingWindow { size: 6, sinks: 0 })
        );
        assert!(error(window(family, json!([full, sliding]))).contains("`layer_types`"));
        assert!(
            error(window(family, json!([full, "linear_attention"]))).contains("linear_attention")
        );
        assert!(error(window(family, json!([full]))).contains("2 layers have 1 `layer_types`"));
    }
    assert_eq!(window("llama", json!([full, sliding]))?, None);
    let without_size = json!({ "model_type": "qwen3", "layer_types": [sliding, sliding] });
    assert!(error(from_json(&config_with(&without_size))).contains("`sliding_window` is not set"));
    Ok(())
}

#[test]
fn unsupported_settings_are_refused_by_name() {
    let refused = |changes: Value| {
        let mut json = config_with(&changes);
        json["model_type"] = changes.get("model_type").cloned().unwrap_or(json!("llama"));
        error(from_json(&json))
    };
    assert!(refused(json!({ "hidden_act": 5 })).contains("`hidden_act` is 5, expected a string"));
    assert!(refused(json!({ "hidden_act": "relu" })).contains("`relu`"));
    assert!(refused(json!({ "model_type": 5 })).contains("`model_type` is 5, expected a string"));
    let custom = json!({ "model_type": "llm_from_scratch", "norm": "batch" });
    assert!(refused(custom).contains("`norm` is `batch`"));
    let partial = json!({ "partial_rotary_factor": 0.5 });
    for json in [partial.clone(), json!({ "rope_parameters": partial })] {
        assert!(refused(json).contains("`partial_rotary_factor` is 0.5"));
    }
    for kind in ["mrope", "proportional"] {
        let named = json!({ "rope_type": kind, "factor": 2. });
        for key in ["rope_scaling", "rope_parameters"] {
            assert!(refused(json!({ key: named })).contains(&format!("RoPE scaling `{kind}`")));
        }
        assert!(refused(json!({ "rope_scaling": { "type": kind } })).contains(kind));
    }
    assert!(refused(json!({ "rope_scaling": { "rope_type": 5 } })).contains("`rope_type` is 5"));
    assert!(
        refused(json!({ "rope_scaling": { "factor": 2. } })).contains("`rope_type` is missing")
    );
}

#[test]
fn every_nth_layer_may_be_without_rope() -> Result<()> {
    let interval = |model_type: &str, key: &str, value: Value| {
        let change = json!({ "model_type": model_type, "num_hidden_layers": 5, key: value });
        let rope = from_json(&config_with(&change))?.attention.position.rope_parameters();
        Ok(rope.expect("RoPE").no_rope_interval)
    };
    let layers = |list: Value| interval("smollm3", "no_rope_layers", list);
    assert_eq!(layers(Value::Null)?, Some(4));
    assert_eq!(layers(json!([1, 1, 0, 1, 1]))?, Some(3));
    assert_eq!(layers(json!([0, 0, 0, 0, 0]))?, Some(1));
    assert_eq!(layers(json!([1, 1, 1, 1, 1]))?, None);
    assert_eq!(interval("smollm3", "no_rope_layer_interval", json!(2))?, Some(2));
    assert_eq!(interval("smollm3", "no_rope_layer_interval", json!(6))?, None, "of 5 layers");
    assert_eq!(interval("llama", "no_rope_layers", json!([1, 0, 1, 0, 1]))?, None);
    for list in [json!([0, 1, 1, 1, 1]), json!([1, 0, 1]), json!([1, 1, 1]), json!("all")] {
        assert!(error(layers(list.clone())).contains("`no_rope_layers`"), "{list}");
    }
    let zero = interval("smollm3", "no_rope_layer_interval", json!(0));
    assert!(error(zero).contains("interval of layers without RoPE is 0"));
    Ok(())
}

#[test]
fn the_cost_of_absurd_sizes_is_a_number() -> Result<()> {
    let change = json!({ "model_type": "llama", "num_hidden_layers": 1u64 << 62, "head_dim": 64 });
    let config = from_json(&config_with(&change))?;
    assert!(config.training_flops_per_token() > 1e20 && config.parameter_count() > 1e20);
    Ok(())
}

#[test]
fn a_list_of_layers_costs_no_memory_for_the_layers_that_a_file_claims() {
    for list in [json!([]), json!([1, 1, 0])] {
        let change = json!({
            "model_type": "smollm3", "num_hidden_layers": 1u64 << 50, "no_rope_layers": list
        });
        assert!(error(from_json(&config_with(&change))).contains("one number per layer"));
    }
}

#[test]
fn a_refused_family_is_told_what_is_special_about_it() {
    let refused = |family: &str| error(from_json(&config_with(&json!({ "model_type": family }))));
    let supported = "expected one of llama, mistral, mixtral, qwen2, qwen3, qwen3_moe, smollm3, \
                     phi3, gemma, gemma2, gemma3_text, gpt2, opt, gpt_neox, llm_from_scratch";
    for (family, reason) in [
        ("gemma3", "because of Gemma 3, only the models that read text alone (270M, 1B)"),
        ("gemma3n", "because it has embeddings for each layer"),
        ("qwen2_moe", "because every token also passes through a shared expert"),
        ("gptj", "because attention and MLP share one norm"),
        ("bert", "model_type `bert` is not supported: expected"),
    ] {
        let message = refused(family);
        assert!(message.contains(reason) && message.ends_with(supported), "{message}");
    }
}

#[test]
fn settings_of_other_families_are_read_with_their_defaults_or_refused_by_name() -> Result<()> {
    let with = |family: &str, changes: Value| {
        let mut json = json!({ "model_type": family });
        let changes = changes.as_object().expect("an object").clone();
        json.as_object_mut().expect("an object").extend(changes);
        from_json(&config_with(&json))
    };
    let gpt2 = |changes: Value| {
        let mut json = json!({ "n_embd": 16, "n_head": 4, "n_layer": 2 });
        json.as_object_mut().expect("an object").extend(changes.as_object().expect("").clone());
        with("gpt2", json)
    };
    let config = gpt2(json!({}))?;
    assert_eq!((config.context_len, config.mlp.width(), config.norm.eps()), (1024, 64, 1e-5));
    assert_eq!(config.lm_head, LmHead::Tied);
    assert!(error(gpt2(json!({ "n_head": 3 }))).contains("3 heads do not divide 16 channels"));
    assert!(error(gpt2(json!({ "n_head": 0 }))).contains("0 heads do not divide 16 channels"));
    assert!(
        error(gpt2(json!({ "activation_function": "tanh" })))
            .contains("`activation_function` is `tanh`")
    );
    assert!(
        error(gpt2(json!({ "scale_attn_by_inverse_layer_idx": true }))).contains("must be false")
    );
    let opt = json!({ "ffn_dim": 24, "enable_bias": false });
    assert!(error(with("opt", opt)).contains("`enable_bias` must be true"));
    assert!(error(with("opt", json!({}))).contains("`ffn_dim` is missing"));
    let unbiased = json!({ "attention_bias": false });
    assert!(error(with("gpt_neox", unbiased)).contains("`attention_bias` must be true"));
    let odd = json!({ "num_attention_heads": 4, "rotary_pct": 0.2 });
    assert!(
        error(with("gpt_neox", odd))
            .contains("RoPE rotates pairs of channels, not 3 of a head of 16")
    );
    let two = json!({ "rope_type": "longrope", "short_factor": [1, 1], "long_factor": [1, 1] });
    let two = json!({ "rope_parameters": two });
    assert!(error(with("phi3", two)).contains("LongRoPE has 2 factors for 1 pairs"));
    let wide = json!({ "intermediate_size": 1u64 << 63 });
    assert!(error(with("phi3", wide)).contains("of 9223372036854775808 channels is too wide"));
    let heads = json!({ "num_attention_heads": 1u64 << 31, "hidden_size": 1u64 << 63 });
    assert!(error(with("gpt_neox", heads)).contains("heads of 4294967296 are too many"));
    let dense = json!({ "mlp_only_layers": [0] });
    assert!(error(with("qwen3_moe", dense)).contains("`mlp_only_layers`"));
    let many = json!({ "num_experts_per_tok": 9 });
    assert!(error(with("mixtral", many)).contains("9 experts per token of 8"));
    let gemma = with("gemma", json!({ "hidden_act": "gelu" }))?;
    assert_eq!(gemma.mlp, Mlp::GeGlu { width: gemma.mlp.width(), form: Gelu::Tanh });
    Ok(())
}

#[test]
fn rope_that_differs_between_layers_is_refused() {
    let parameters = json!({ "full_attention": { "rope_type": "default", "rope_theta": 5e5 } });
    let changes = json!({ "model_type": "qwen3", "rope_parameters": parameters });
    assert!(error(from_json(&config_with(&changes))).contains("differ between layers"));
}

#[test]
fn a_config_survives_a_round_trip_and_has_no_dtype() -> Result<()> {
    for (name, config) in variants() {
        let json = to_json(&config);
        assert_eq!(from_json(&json)?, config, "{name}");
        assert_eq!(from_json(&to_custom_json(&config))?, config, "{name}, as our own family");
        assert_eq!(json.get("dtype"), None);
    }
    let learned = variants().into_iter().find(|(name, _)| *name == "learned positions");
    let learned = learned.expect("it is among them").1;
    let mut json = to_custom_json(&learned);
    json["rotary_pct"] = json!(0.5);
    assert_eq!(from_json(&json)?, learned, "learned positions rotate nothing");
    let mut no_rope = variants()[0].1;
    no_rope.attention.position = rope_in_every_other_layer();
    let json = to_json(&no_rope);
    assert_eq!(json["no_rope_layers"], json!([1, 0]));
    assert_eq!(json.get("pad_token_id"), Some(&Value::Null), "SmolLM3's default is 128,004");
    // Qwen3 may have biases. Llama's channels must be divisible by its heads.
    let mut config = variants()[0].1;
    (config.attention.logits.qk_norm, config.attention.bias) =
        (QkNorm::PerHead, AttentionBias::All);
    assert_eq!(to_json(&config)["model_type"], "qwen3");
    assert_eq!(from_json(&to_json(&config))?, config);
    let mut config = ModelConfig { init_std: 0.06, ..variants()[0].1 };
    assert_eq!(to_json(&config)["initializer_range"], 0.06);
    (config.attention.n_head, config.attention.n_kv_head) = (6, 3);
    assert_eq!(to_json(&config)["model_type"], "llm_from_scratch");
    assert_eq!(from_json(&to_json(&config))?, config);
    Ok(())
}

#[test]
fn a_config_outside_all_families_gets_our_model_type() {
    for (name, config) in variants() {
        let model_type = to_json(&config)["model_type"].clone();
        let expected = match name {
            "llama" | "yarn" | "untied" | "biases" | "wide heads" => "llama",
            "qwen2" => "qwen2",
            "qwen3" => "qwen3",
            "mistral" => "mistral",
            "smollm3" | "phi3" | "gemma" | "gemma2" | "gemma3_text" | "gpt2" | "opt"
            | "gpt_neox" | "mixtral" | "qwen3_moe" => name,
            _ => "llm_from_scratch",
        };
        assert_eq!(model_type, expected, "{name}");
    }
}
