//! `config.json` of Gemma 2 and 3.

use anyhow::Result;
use serde_json::{Value, json};

use super::error;
use crate::config::{
    BlockLayout, LayerType, LayerWindow, LmHead, ModelConfig, NormKind, PositionEncoding, QkNorm,
    RopeParameters, RopeScaling, SlidingWindow, YarnScaling,
};
use crate::config_json::{from_json, to_custom_json, to_json};
use crate::testing::variants;

/// Published file of google/gemma-2-2b, without keys that are not read.
fn gemma_2_2b() -> Value {
    json!({
        "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "attention_bias": false,
        "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "head_dim": 256,
        "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": 2304, "initializer_range": 0.02, "intermediate_size": 9216,
        "max_position_embeddings": 8192, "num_attention_heads": 8, "num_hidden_layers": 26,
        "num_key_value_heads": 4, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "sliding_window": 4096, "vocab_size": 256000,
    })
}

/// Published file of google/gemma-3-1b-it, without keys that are not read.
fn gemma_3_1b() -> Value {
    json!({
        "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text",
        "attention_bias": false, "attn_logit_softcapping": null, "eos_token_id": [1, 106],
        "final_logit_softcapping": null, "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 1152, "initializer_range": 0.02,
        "intermediate_size": 6912, "max_position_embeddings": 32768, "num_attention_heads": 4,
        "num_hidden_layers": 26, "num_key_value_heads": 1, "query_pre_attn_scalar": 256,
        "rms_norm_eps": 1e-6, "rope_local_base_freq": 10000, "rope_scaling": null,
        "rope_theta": 1000000, "sliding_window": 512, "sliding_window_pattern": 6,
        "vocab_size": 262144,
    })
}

fn with(mut json: Value, changes: Value) -> Value {
    let changes = changes.as_object().expect("an object").clone();
    json.as_object_mut().expect("an object").extend(changes);
    json
}

fn local_rope_base(config: &ModelConfig) -> Option<f64> {
    config.attention.window.expect("a window").local_rope_base
}

fn scaled_rope(base: f64, scaling: RopeScaling) -> PositionEncoding {
    PositionEncoding::Rope(RopeParameters { scaling: Some(scaling), ..RopeParameters::new(base) })
}

fn layers_with_full_attention(config: &ModelConfig) -> Vec<usize> {
    let layers = 0..config.n_layer;
    layers.filter(|&i| config.attention.layer_type(i) == LayerType::FullAttention).collect()
}

#[test]
fn the_published_file_of_gemma_2_is_read() -> Result<()> {
    let config = from_json(&gemma_2_2b())?;
    let attention = config.attention;
    assert_eq!(config.norm, NormKind::ZeroCenteredRms { eps: 1e-6 });
    assert_eq!((config.block, attention.logits.qk_norm), (BlockLayout::SandwichNorm, QkNorm::None));
    assert_eq!((config.logit_softcap, attention.logits.softcap), (Some(30.), Some(50.)));
    assert_eq!(attention.sliding_window(), Some(SlidingWindow { size: 4096, sinks: 0 }));
    assert_eq!(layers_with_full_attention(&config)[..3], [1, 3, 5], "every second layer");
    let logits = attention.logits;
    assert_eq!((logits.query_pre_attn_scalar, attention.query_scale()), (None, None), "it is D");
    assert_eq!(local_rope_base(&config), None);
    assert_eq!(config.lm_head, LmHead::Tied);
    assert_eq!(config.parameter_count(), 2_614_341_888.);
    // gemma-2-27b: heads of 128 channels, scaled as if they had 144.
    let large =
        from_json(&with(gemma_2_2b(), json!({ "head_dim": 128, "query_pre_attn_scalar": 144 })))?;
    assert_eq!(large.attention.logits.query_pre_attn_scalar, Some(144));
    let scale = large.attention.query_scale().expect("a scale");
    assert!((scale / 128f64.sqrt() - 1. / 12.).abs() < 1e-12, "{scale}");
    Ok(())
}

#[test]
fn the_published_file_of_gemma_3_is_read() -> Result<()> {
    let config = from_json(&gemma_3_1b())?;
    let attention = config.attention;
    assert_eq!(
        (config.block, attention.logits.qk_norm),
        (BlockLayout::SandwichNorm, QkNorm::PerHead)
    );
    assert_eq!((config.logit_softcap, attention.logits.softcap), (None, None));
    assert_eq!(attention.sliding_window(), Some(SlidingWindow { size: 512, sinks: 0 }));
    assert_eq!(layers_with_full_attention(&config), [5, 11, 17, 23]);
    assert_eq!(attention.position, PositionEncoding::rope(1e6));
    assert_eq!(local_rope_base(&config), Some(10_000.));
    assert_eq!(config.parameter_count(), 999_885_952.);
    Ok(())
}

#[test]
fn both_forms_of_layer_types_and_of_rope_mean_the_same() -> Result<()> {
    let older = from_json(&gemma_3_1b())?;
    let layer_types: Vec<&str> = (1..=26)
        .map(|layer| if layer % 6 == 0 { "full_attention" } else { "sliding_attention" })
        .collect();
    let changes = json!({
        "layer_types": layer_types, "sliding_window_pattern": 3,
        "rope_theta": null, "rope_local_base_freq": null,
        "rope_parameters": {
            "full_attention": { "rope_type": "default", "rope_theta": 1e6 },
            "sliding_attention": { "rope_type": "default", "rope_theta": 1e4 },
        },
    });
    assert_eq!(from_json(&with(gemma_3_1b(), changes))?, older);
    let scaling = json!({ "rope_type": "linear", "factor": 8.0 });
    let scaled = from_json(&with(gemma_3_1b(), json!({ "rope_scaling": scaling })))?;
    assert_eq!(scaled.attention.position, scaled_rope(1e6, RopeScaling::Linear { factor: 8. }));
    let local = local_rope_base(&scaled);
    assert_eq!(local, Some(10_000.), "layers with a window do not scale RoPE");
    Ok(())
}

/// As `Gemma3TextConfig` does, which updates the newer object with the older one.
#[test]
fn the_older_rope_scaling_is_merged_into_the_newer_parameters() -> Result<()> {
    let position = |newer: Value, older: Value| -> Result<PositionEncoding> {
        let newer = json!({ "full_attention": newer });
        let changes = json!({ "rope_parameters": newer, "rope_scaling": older });
        Ok(from_json(&with(gemma_3_1b(), changes))?.attention.position)
    };
    let newer = json!({
        "rope_type": "yarn", "factor": 8.0, "beta_fast": 16.0, "rope_theta": 5e5,
        "original_max_position_embeddings": 4096,
    });
    let yarn = YarnScaling {
        factor: 2.,
        attention_factor: None,
        beta_fast: 16.,
        beta_slow: 1.,
        original_context_len: 4096,
    };
    let expected = scaled_rope(5e5, RopeScaling::Yarn(yarn));
    assert_eq!(position(newer, json!({ "factor": 2.0 }))?, expected);
    let default = json!({ "rope_type": "default", "rope_theta": 5e5 });
    let expected = scaled_rope(5e5, RopeScaling::Linear { factor: 8. });
    for key in ["type", "rope_type"] {
        assert_eq!(position(default.clone(), json!({ key: "linear", "factor": 8.0 }))?, expected);
    }
    Ok(())
}

#[test]
fn missing_keys_have_the_defaults_of_the_two_families() -> Result<()> {
    let sizes = json!({
        "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 12, "vocab_size": 32,
        "intermediate_size": 24,
    });
    let config = from_json(&with(sizes.clone(), json!({ "model_type": "gemma2" })))?;
    assert_eq!((config.logit_softcap, config.attention.logits.softcap), (Some(30.), Some(50.)));
    assert_eq!((config.context_len, config.attention.head_dim), (8192, 256));
    assert_eq!(layers_with_full_attention(&config), [1, 3, 5, 7, 9, 11]);
    let nulls = json!({
        "model_type": "gemma2", "attn_logit_softcapping": null, "final_logit_softcapping": null
    });
    let config = from_json(&with(sizes.clone(), nulls))?;
    assert_eq!((config.logit_softcap, config.attention.logits.softcap), (None, None));
    let config = from_json(&with(sizes, json!({ "model_type": "gemma3_text" })))?;
    assert_eq!((config.logit_softcap, config.attention.logits.softcap), (None, None));
    assert_eq!(config.attention.sliding_window(), Some(SlidingWindow { size: 4096, sinks: 0 }));
    assert_eq!(layers_with_full_attention(&config), [5, 11]);
    assert_eq!(local_rope_base(&config), Some(10_000.));
    assert_eq!(config.attention.position, PositionEncoding::rope(1e6));
    assert_eq!((config.context_len, config.attention.n_kv_head), (131_072, 4));
    Ok(())
}

#[test]
fn all_layers_of_one_type_survive_a_round_trip() -> Result<()> {
    for (name, config) in variants().into_iter().filter(|(name, _)| name.starts_with("gemma")) {
        if name == "gemma" {
            continue;
        }
        let mut sliding = config;
        let layers = sliding.attention.window;
        sliding.attention.window =
            layers.map(|layers| LayerWindow { full_attention_interval: None, ..layers });
        let mut full = sliding;
        full.attention.window = None;
        for config in [sliding, full] {
            assert_eq!(to_json(&config)["model_type"], name);
            assert_eq!(from_json(&to_json(&config))?, config, "{name}");
            if name == "gemma3_text" {
                let mut older = to_json(&config);
                older.as_object_mut().expect("an object").remove("layer_types");
                assert_eq!(from_json(&older)?, config, "what transformers 4 first read");
            }
        }
    }
    Ok(())
}

#[test]
fn a_gemma_with_scaled_rope_is_one_under_its_own_name() -> Result<()> {
    for (name, mut config) in variants().into_iter().filter(|(name, _)| name.starts_with("gemma")) {
        let scaling = Some(RopeScaling::Linear { factor: 4. });
        let rope = RopeParameters { scaling, ..RopeParameters::new(1000.) };
        config.attention.position = PositionEncoding::Rope(rope);
        let json = to_json(&config);
        assert_eq!(json["model_type"], name);
        assert_eq!(json["rope_scaling"]["factor"], 4.);
        assert_eq!(from_json(&json)?, config, "{name}");
    }
    Ok(())
}

#[test]
fn what_the_two_families_do_not_support_is_refused_by_name() {
    let (sliding, full) = ("sliding_attention", "full_attention");
    let refused = |json: Value, changes: Value| error(from_json(&with(json, changes)));
    let short = || with(gemma_3_1b(), json!({ "num_hidden_layers": 3 }));
    for layer_types in [[full, sliding, sliding], [sliding, full, full]] {
        let message = refused(short(), json!({ "layer_types": layer_types }));
        assert!(message.contains("other patterns are not supported"), "{message}");
    }
    let one = refused(short(), json!({ "layer_types": [full] }));
    assert!(one.contains("3 layers have 1 `layer_types`"), "{one}");
    let no_size = refused(gemma_2_2b(), json!({ "sliding_window": null }));
    assert!(no_size.contains("`sliding_window` is null"), "{no_size}");
    let zero = refused(gemma_3_1b(), json!({ "sliding_window_pattern": 0 }));
    assert!(zero.contains("the interval of layers with full attention is 0"), "{zero}");
    for (key, value, expected) in [
        ("attn_logit_softcapping", json!(50.), "`attn_logit_softcapping` must be null"),
        ("hidden_activation", json!("gelu"), "`hidden_activation` is `gelu`"),
        ("final_logit_softcapping", json!(0.), "soft cap of logits must be above 0, got 0"),
        ("query_pre_attn_scalar", json!(0), "`query_pre_attn_scalar` is 0"),
        ("rope_local_base_freq", json!(0), "the layers with a window must be above 0, got 0"),
        ("use_bidirectional_attention", json!(true), "`use_bidirectional_attention`"),
        ("rope_parameters", json!({ "rope_type": "default" }), "one for `sliding_attention`"),
    ] {
        let message = refused(gemma_3_1b(), json!({ key: value }));
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn the_rope_of_both_types_of_layers_is_checked() {
    let half = json!({ "partial_rotary_factor": 0.5 });
    let whole = json!({ "partial_rotary_factor": 1. });
    let linear = json!({ "rope_type": "linear", "factor": 2. });
    let yarn = json!({ "type": "yarn", "factor": 2. });
    let untyped = json!({ "factor": 2. });
    let is_half = "`partial_rotary_factor` is 0.5";
    let is_untyped = "RoPE has a scaling `factor`, but `rope_type` is missing";
    let unsupported = "of `sliding_attention` is not supported";
    for (full, sliding, expected) in [
        (json!(null), linear, format!("RoPE scaling `linear` {unsupported}")),
        (json!(null), yarn, format!("RoPE scaling `yarn` {unsupported}")),
        (json!(null), untyped.clone(), is_untyped.to_string()),
        (untyped, json!(null), is_untyped.to_string()),
        (json!(null), half.clone(), is_half.to_string()),
        (half.clone(), json!(null), is_half.to_string()),
        (half, whole, is_half.to_string()),
    ] {
        let parameters = json!({ "full_attention": full, "sliding_attention": sliding });
        let changes = json!({ "rope_parameters": parameters });
        let message = error(from_json(&with(gemma_3_1b(), changes)));
        assert!(message.contains(&expected), "{message}");
    }
}

#[test]
fn a_multimodal_gemma_3_is_told_which_models_are_supported() {
    let json = json!({
        "model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"],
        "text_config": gemma_3_1b(), "vision_config": { "model_type": "siglip_vision_model" },
    });
    let message = error(from_json(&json));
    assert!(message.contains("model_type `gemma3_text`; the text models"), "{message}");
}

#[test]
fn layers_with_full_attention_beside_a_window_need_its_size() {
    let json = with(to_custom_json(&variants()[0].1), json!({ "full_attention_interval": 2 }));
    let message = error(from_json(&json));
    assert!(message.contains("its size is not given"), "{message}");
}

/// A file of our own may describe a Gemma, which then gets the keys of its family.
#[test]
fn a_choice_that_changes_nothing_is_none_in_files_of_our_own_too() -> Result<()> {
    for name in ["gemma2", "gemma3_text"] {
        let variant = variants().into_iter().find(|(variant, _)| *variant == name);
        let config = variant.expect("it is among them").1;
        let custom = to_custom_json(&config);
        for (key, value) in [
            ("full_attention_interval", json!(99)),
            ("full_attention_interval", json!(1)),
            ("query_pre_attn_scalar", json!(config.attention.head_dim)),
            ("rope_local_base_freq", custom["rope_theta"].clone()),
        ] {
            let mut json = custom.clone();
            json[key] = value;
            let config = from_json(&json)?;
            assert_eq!(from_json(&to_json(&config))?, config, "{name}: {key}");
        }
    }
    Ok(())
}
