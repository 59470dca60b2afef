//! Checks of the settings and tensors of an adapter file, whose errors name what does not fit.

use std::collections::BTreeMap;

use anyhow::Result;
use candle_core::{DType, Tensor};
use model_io::{ModelConfig, TargetModules, peft_folder};
use modern::GptModern;
use serde_json::{Value, json};
use tensor_core::{Parameters, json_file};

use super::{base, base_of, golden};
use crate::tests::{CPU, config, model};

#[test]
fn an_adapter_with_nan_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::copy(golden("lora/adapter_config.json"), folder.path().join("adapter_config.json"))?;
    let file = "adapter_model.safetensors";
    let mut tensors = tensor_core::weights::load(&golden("lora").join(file))?;
    let first = tensors.values_mut().next().expect("a tensor");
    *first = (&*first * f64::NAN)?;
    tensor_core::weights::save(&folder.path().join(file), &tensors)?;
    let (_, mut parameters) = base()?;
    let error = peft_folder::open(folder.path(), &mut parameters).expect_err("NaN").to_string();
    assert!(error.contains("lora_A.weight` has a weight that is NaN or infinite"), "{error}");
    Ok(())
}

#[test]
fn adapters_of_another_model_are_rejected_with_names_and_shapes() -> Result<()> {
    let (_, mut parameters) = model(&config(16), 5)?; // the same number of layers, other widths
    let error = peft_folder::open(&golden("lora"), &mut parameters).expect_err("another model");
    let text = format!("{error:#}");
    assert!(text.contains("is not an adapter of this model"), "{text}");
    assert!(text.contains("v_proj.lora_B has shape [8, 3], expected [16, 3]"), "{text}");
    assert!(!text.contains('\n'));
    assert!(parameters.adapters().is_empty() && parameters.trainable().count() > 0, "unchanged");
    let one_layer = ModelConfig { n_layer: 1, ..*base()?.0.config() };
    let mut fewer = Parameters::seeded(0, DType::F32, &CPU);
    GptModern::new(&one_layer, fewer.root())?;
    let error = peft_folder::open(&golden("lora"), &mut fewer).expect_err("a layer is missing");
    assert!(
        format!("{error:#}").contains("no layer for base_model.model.model.layers.1."),
        "{error:#}"
    );
    Ok(())
}

#[test]
fn unsupported_peft_settings_are_rejected_by_name() -> Result<()> {
    let plain = json_file::read(&golden("lora/adapter_config.json"))?;
    for (key, value) in [
        ("peft_type", json!("IA3")),
        ("use_dora", json!(1)),
        ("use_rslora", json!("yes")),
        ("bias", json!("all")),
        ("rank_pattern", json!({"q_proj": 0})),
        ("rank_pattern", json!({"q_proj(": 2})),
        ("rank_pattern", json!({"(\\w{1000}){1000}": 2})), // gigabytes, if it were compiled
        ("rank_pattern", json!(2)),
        ("modules_to_save", json!(["lm_head"])),
        ("target_modules", json!(null)),
        ("target_modules", json!(r"model\.layers\.1\..*")), // there are adapters of layer 0, too
        ("target_modules", json!("q_proj")), // a regex of the whole name, which matches no layer
        ("alpha_pattern", json!({"q_proj": "2"})),
        ("alpha_pattern", json!({"q_proj": 1e300})),
        ("layers_to_transform", json!([1])),
        ("target_parameters", json!(["experts"])),
        ("init_lora_weights", json!("pissa")),
        ("init_lora_weights", json!("pissa_niter_4")),
        ("init_lora_weights", json!("olora")),
        ("layer_replication", json!([[0, 1]])),
        ("alora_invocation_tokens", json!([1])),
        ("trainable_token_indices", json!([1])),
        ("of_a_later_peft", json!("on")),
        ("r", json!(0)),
        ("lora_dropout", json!(1)),
        ("lora_dropout", json!(-0.1)),
        ("lora_alpha", json!(1e300)),
    ] {
        let folder = tempfile::tempdir()?;
        let mut config = plain.clone();
        config[key] = value;
        json_file::write(&folder.path().join("adapter_config.json"), &config)?;
        let weights = "adapter_model.safetensors";
        std::fs::copy(golden("lora").join(weights), folder.path().join(weights))?;
        let (_, mut parameters) = base()?;
        let error = peft_folder::open(folder.path(), &mut parameters).expect_err(key);
        assert!(format!("{error:#}").contains(&format!("`{key}`")), "{error:#}");
    }
    Ok(())
}

/// The names of the tensors say which layers are adapted, and a saved adapter lists them.
#[test]
fn a_regular_expression_of_target_modules_is_read_and_saved_as_a_list() -> Result<()> {
    let (_, mut plain) = base()?;
    peft_folder::open(&golden("lora"), &mut plain)?;
    let layers: Vec<_> = plain.adapters().keys().cloned().collect();
    for pattern in [
        r".*layers\.\d+\..*(q|v|down)_proj",
        r"model\.layers\.\d+\.self_attn\.(q|v)_proj|.*\.down_proj",
        r".*layers\.\d+\.(?!mlp\.up).*_proj", // a look-ahead, which our expressions lack
    ] {
        let folder = tempfile::tempdir()?;
        let mut config = json_file::read(&golden("lora/adapter_config.json"))?;
        config["target_modules"] = json!(pattern);
        json_file::write(&folder.path().join("adapter_config.json"), &config)?;
        let weights = "adapter_model.safetensors";
        std::fs::copy(golden("lora").join(weights), folder.path().join(weights))?;
        let (_, mut parameters) = base()?;
        let lora = peft_folder::open(folder.path(), &mut parameters)?;
        assert_eq!(lora.target_modules, TargetModules::Named(layers.clone()), "{pattern}");
        assert!(parameters.adapters().keys().eq(plain.adapters().keys()), "{pattern}");

        let again = tempfile::tempdir()?;
        peft_folder::save(again.path(), &parameters, &lora, "llama")?;
        let saved = json_file::read(&again.path().join("adapter_config.json"))?;
        assert_eq!(saved["target_modules"], json!(layers));
        assert_eq!(peft_folder::open(again.path(), &mut base()?.1)?, lora);
    }
    Ok(())
}

#[test]
fn adapters_whose_tensors_differ_from_their_settings_are_rejected() -> Result<()> {
    for (key, value, message) in [
        ("rank_pattern", json!({"q_proj": 2}), "q_proj.lora_A has shape [3, 16], expected [2, 16]"),
        ("use_dora", json!(true), "q_proj lacks lora_magnitude_vector"),
    ] {
        let folder = tempfile::tempdir()?;
        let mut config = json_file::read(&golden("lora/adapter_config.json"))?;
        config[key] = value;
        json_file::write(&folder.path().join("adapter_config.json"), &config)?;
        let weights = "adapter_model.safetensors";
        std::fs::copy(golden("lora").join(weights), folder.path().join(weights))?;
        let error = peft_folder::open(folder.path(), &mut base()?.1).expect_err(key);
        assert!(format!("{error:#}").contains(message), "{error:#}");
    }
    let plain = tempfile::tempdir()?; // magnitudes that the settings do not announce
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(golden("dora").join(file), plain.path().join(file))?;
    }
    let path = plain.path().join("adapter_config.json");
    let mut config = json_file::read(&path)?;
    config["use_dora"] = json!(false);
    json_file::write(&path, &config)?;
    let error = peft_folder::open(plain.path(), &mut base()?.1).expect_err("magnitudes");
    assert!(format!("{error:#}").contains("lora_magnitude_vector"), "{error:#}");
    Ok(())
}

#[test]
fn initializations_that_keep_the_base_weights_are_accepted() -> Result<()> {
    let plain = json_file::read(&golden("lora/adapter_config.json"))?;
    for value in [json!(true), json!(false), json!("gaussian"), Value::Null] {
        let folder = tempfile::tempdir()?;
        let mut config = plain.clone();
        config["init_lora_weights"] = value;
        json_file::write(&folder.path().join("adapter_config.json"), &config)?;
        let weights = "adapter_model.safetensors";
        std::fs::copy(golden("lora").join(weights), folder.path().join(weights))?;
        peft_folder::open(folder.path(), &mut base()?.1)?;
    }
    Ok(())
}

#[test]
fn adapters_of_fused_experts_that_do_not_fit_are_rejected() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let settings = json_file::read(&golden("mixtral").join("adapter_config.json"))?;
    let tensors = tensor_core::weights::load(&golden("mixtral/adapter_model.safetensors"))?;
    let path = |end: &str| format!("base_model.model.model.layers.0.mlp.experts.{end}.weight");
    let refuse = |settings: &Value,
                  change: &dyn Fn(&mut BTreeMap<String, Tensor>) -> Result<()>| {
        let mut tensors = tensors.clone();
        change(&mut tensors)?;
        json_file::write(&folder.path().join("adapter_config.json"), settings)?;
        tensor_core::weights::save(&folder.path().join("adapter_model.safetensors"), &tensors)?;
        let opened = peft_folder::open(folder.path(), &mut base_of("mixtral")?.1);
        Ok::<_, anyhow::Error>(format!("{:#}", opened.expect_err("a misfit")))
    };
    let mut no_pattern = settings.clone();
    no_pattern["rank_pattern"] = json!({});
    let error = refuse(&no_pattern, &|_| Ok(()))?;
    assert!(error.contains("lora_A has 12 rows, expected 2 for each of 3 experts"), "{error}");
    no_pattern["r"] = json!(u64::MAX);
    let error = refuse(&no_pattern, &|_| Ok(()))?;
    assert!(error.contains("expected 18446744073709551615 for each of 3 experts"), "{error}");
    let error = refuse(&settings, &|tensors| {
        tensors.remove(&path("lora_B"));
        Ok(())
    })?;
    assert!(error.contains("layers.0.mlp.experts is incomplete"), "{error}");
    let error = refuse(&settings, &|tensors| {
        tensors.insert(path("lora_A"), Tensor::zeros((6, 7), DType::F32, &CPU)?);
        Ok(())
    })?;
    assert!(error.contains("for a matrix of shape 16 x 7"), "{error}");
    Ok(())
}
