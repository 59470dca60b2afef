use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use serde_json::json;
use tensor_core::ops::Gelu;
use tensor_core::testing::assert_close;
use tensor_core::{Init, Parameters, WeightDecay, weights};

use super::error;
use crate::gpt2_folder::{Gpt2Config, read_parameters, save};

const CONFIG: Gpt2Config = Gpt2Config {
    vocab_size: 7,
    n_positions: 8,
    n_layer: 1,
    n_head: 2,
    n_embd: 4,
    activation_function: Gelu::Exact,
    layer_norm_epsilon: 1e-6,
    dropout: 0.2,
};

#[test]
fn a_config_survives_a_round_trip_and_missing_keys_have_the_defaults_of_transformers() -> Result<()>
{
    assert_eq!(Gpt2Config::from_json(&CONFIG.to_json())?, CONFIG);
    let sizes = json!({
        "model_type": "gpt2", "vocab_size": 7, "n_positions": 8, "n_layer": 1, "n_head": 2,
        "n_embd": 4
    });
    let expected = Gpt2Config {
        activation_function: Gelu::Tanh,
        layer_norm_epsilon: 1e-5,
        dropout: 0.1,
        ..CONFIG
    };
    assert_eq!(Gpt2Config::from_json(&sizes)?, expected);
    Ok(())
}

#[test]
fn settings_that_change_the_model_are_refused_by_name() {
    for (key, value) in [
        ("attn_pdrop", json!(0.5)),
        ("scale_attn_weights", json!(false)),
        ("scale_attn_by_inverse_layer_idx", json!(true)),
        ("tie_word_embeddings", json!(false)),
    ] {
        let mut json = CONFIG.to_json();
        json[key] = value;
        assert!(error(Gpt2Config::from_json(&json)).contains(&format!("`{key}`")));
    }
}

#[test]
fn numbers_that_no_model_computes_with_are_refused() {
    for (dropout, eps, key) in [
        (1., 1e-5, "resid_pdrop"),
        (-0.1, 1e-5, "resid_pdrop"),
        (0., 0., "layer_norm_epsilon"),
        (0., -1., "layer_norm_epsilon"),
    ] {
        let json = Gpt2Config { dropout, layer_norm_epsilon: eps, ..CONFIG }.to_json();
        assert!(error(Gpt2Config::from_json(&json)).contains(key), "{json}");
    }
}

/// A `c_attn` of three inputs and two outputs, and an embedding.
fn read(parameters: &mut Parameters) -> Result<[Tensor; 2]> {
    let init = Init::Normal { std: 1. };
    let mut layer = parameters.root();
    let attention = layer.at("h.0.attn.c_attn").parameter("weight", (2, 3), init, WeightDecay::Yes);
    let embedding = layer.at("wte").parameter("weight", (7, 3), init, WeightDecay::Yes);
    Ok([attention?, embedding?])
}

#[test]
fn linear_layers_are_stored_as_conv1d_and_all_names_with_a_prefix() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut parameters = Parameters::seeded(0, DType::F32, &Device::Cpu);
    let [attention, embedding] = read(&mut parameters)?;
    save(folder.path(), &CONFIG, None, &parameters)?;
    let tensors = weights::load(&folder.path().join("model.safetensors"))?;
    assert_close(&tensors["transformer.h.0.attn.c_attn.weight"], &attention.t()?, 0.);
    assert_close(&tensors["transformer.wte.weight"], &embedding, 0.);

    let opened = read(&mut read_parameters(folder.path(), 0, &Device::Cpu)?)?;
    assert_close(&opened[0], &attention, 0.);
    assert_close(&opened[1], &embedding, 0.);
    Ok(())
}

#[test]
fn an_index_that_is_not_an_object_is_refused() -> Result<()> {
    for index in ["[]", "[{}]", "1", "{}", "{\"weight_map\": [1]}"] {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("model.safetensors.index.json"), index)?;
        let message = error(read_parameters(folder.path(), 0, &Device::Cpu).map(drop));
        assert!(message.contains("lacks a `weight_map`"), "{index}: {message}");
    }
    Ok(())
}
