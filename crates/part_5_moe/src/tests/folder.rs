use std::collections::BTreeMap;

use anyhow::Result;
use candle_core::{DType, Tensor};
use model_io::model_folder::SpecialTokenIds;
use serde::Deserialize;
use serde_json::{Value, json};
use tensor_core::backward;
use tensor_core::ops::cross_entropy;
use tensor_core::testing::assert_close;

use super::{CPU, golden, ids, new_model, tiny_config};
use crate::auxiliary_losses::load_balancing_loss;
use crate::config::{DenseBranch, ExpertSelection, GateWeights, MoeConfig, RouterConfig};
use crate::model_folder::{from_json, open, save, to_json};

/// Results of transformers: see scripts/golden_mixtral.py.
#[derive(Deserialize)]
struct Golden {
    sequences: Vec<Sequence>,
    loss: f64,
    aux_loss_of_all_layers: f64,
    router_logits: Vec<Vec<Vec<f64>>>,
    grad_norms: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Sequence {
    input_ids: Vec<u32>,
    logits: Vec<Vec<f64>>,
}

fn read_golden() -> Result<Golden> {
    Ok(serde_json::from_slice(&std::fs::read(golden("mixtral/golden.json"))?)?)
}

fn row(ids: &[u32]) -> candle_core::Result<Tensor> {
    Tensor::new(ids, &CPU)?.unsqueeze(0)
}

#[test]
fn logits_of_a_mixtral_match_transformers() -> Result<()> {
    let (model, _) = open(&golden("mixtral"), DType::F32, &CPU)?;
    let golden = read_golden()?;
    for Sequence { input_ids, logits } in &golden.sequences {
        let (output, _) = model.forward_with_routing(&row(input_ids)?)?;
        assert_close(&output.squeeze(0)?, &Tensor::new(logits.clone(), &CPU)?, 1e-4);
    }
    let (_, layers) = model.forward_with_routing(&row(&golden.sequences[0].input_ids)?)?;
    for (layer, expected) in layers.iter().zip(&golden.router_logits) {
        assert_close(&layer.logits, &Tensor::new(expected.clone(), &CPU)?, 1e-4);
    }
    // The loss of transformers pools all layers and is K = 2 times this one.
    let p: Vec<&Tensor> = layers.iter().map(|layer| &layer.probabilities).collect();
    let experts: Vec<u32> =
        layers.iter().flat_map(|layer| layer.selected_experts.clone()).collect();
    let pooled = load_balancing_loss(&Tensor::cat(&p, 0)?, &experts, None)?.to_scalar::<f32>()?;
    assert_close(2. * f64::from(pooled), golden.aux_loss_of_all_layers, 1e-5);
    Ok(())
}

#[test]
fn loss_and_gradient_norms_match_transformers() -> Result<()> {
    let (model, parameters) = open(&golden("mixtral"), DType::F32, &CPU)?;
    let golden = read_golden()?;
    let ids = &golden.sequences[0].input_ids;
    let targets: Vec<i64> = ids[1..].iter().map(|&id| i64::from(id)).collect();
    let (logits, _) = model.forward_with_routing(&row(&ids[..ids.len() - 1])?)?;
    let loss = cross_entropy(&logits, &Tensor::new(targets, &CPU)?.unsqueeze(0)?)?;
    assert_close(f64::from(loss.to_scalar::<f32>()?), golden.loss, 1e-5);
    let grads = backward(&loss)?;
    assert_eq!(parameters.iter().count(), golden.grad_norms.len());
    for parameter in parameters.iter() {
        let grad = grads.get(parameter.var.as_tensor()).expect("a gradient");
        let norm = f64::from(grad.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt());
        let expected = golden.grad_norms[&parameter.name];
        assert_close(norm, expected, 1e-4);
    }
    Ok(())
}

fn variants() -> candle_core::Result<Vec<(&'static str, MoeConfig)>> {
    let mixtral = tiny_config(RouterConfig::new(4, 2))?;
    let with = |change: fn(&mut MoeConfig)| {
        let mut config = mixtral;
        change(&mut config);
        config
    };
    Ok(vec![
        ("mixtral", mixtral),
        ("llm_from_scratch", with(|c| c.router.gate_weights = GateWeights::Raw)),
        ("llm_from_scratch", with(|c| c.router.expert_selection = ExpertSelection::Biased)),
        (
            "llm_from_scratch",
            with(|c| c.dense_branch = DenseBranch::Weighted { dense_weight: 0.25 }),
        ),
        (
            "llm_from_scratch",
            with(|c| c.model.attention.logits.qk_norm = model_io::config::QkNorm::PerHead),
        ),
        ("llm_from_scratch", tiny_config(RouterConfig::new(4, 1))?),
    ])
}

#[test]
fn saving_and_loading_a_model_does_not_change_it() -> Result<()> {
    for (model_type, config) in variants()? {
        let (model, parameters) = new_model(&config, DType::F32)?;
        let folder = tempfile::tempdir()?;
        save(folder.path(), &config, &parameters, &SpecialTokenIds { bos: Some(1), eos: vec![2] })?;
        let (loaded, _) = open(folder.path(), DType::F32, &CPU)?;
        assert_eq!(to_json(&config)["model_type"], model_type);
        assert_eq!(loaded.config(), &config);
        assert_close(
            &loaded.forward_with_routing(&ids(2, 9, 0)?)?.0,
            &model.forward_with_routing(&ids(2, 9, 0)?)?.0,
            0.,
        );
        let json: Value =
            serde_json::from_slice(&std::fs::read(folder.path().join("config.json"))?)?;
        assert_eq!((&json["eos_token_id"], &json["dtype"]), (&json!(2), &json!("float32")));
    }
    Ok(())
}

#[test]
fn keys_missing_in_a_mixtral_config_have_transformers_defaults() -> Result<()> {
    let config = from_json(&json!({
        "model_type": "mixtral", "vocab_size": 64, "hidden_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 8, "intermediate_size": 24,
    }))?;
    assert_eq!((config.router.n_expert, config.router.top_k), (8, 2));
    assert_eq!(config.router.gate_weights, GateWeights::Renormalized);
    let attention = config.model.attention;
    assert_eq!(
        (config.model.context_len, attention.n_kv_head, attention.window),
        (131_072, 8, None)
    );
    assert_eq!(config.model.norm, model_io::config::NormKind::Rms { eps: 1e-5 });
    let position = model_io::config::PositionEncoding::rope(1e6);
    assert_eq!(attention.position, position);
    Ok(())
}

#[test]
fn other_models_and_invalid_values_are_refused_by_name() {
    let good = to_json(&tiny_config(RouterConfig::new(4, 2)).expect("sizes that fit"));
    let error = |change: fn(&mut Value)| {
        let mut json = good.clone();
        change(&mut json);
        format!("{:#}", from_json(&json).expect_err("refused"))
    };
    assert!(
        error(|json| json["model_type"] = json!("llama"))
            .contains("model_type `llama` is not an MoE model")
    );
    assert!(
        error(|json| json["num_experts_per_tok"] = json!(5)).contains("5 experts per token of 4")
    );
    assert!(
        error(|json| json["num_local_experts"] = json!(-1)).contains("`num_local_experts` is -1")
    );
    assert!(error(|json| json["hidden_act"] = json!("relu")).contains("`hidden_act` is `relu`"));
    assert!(
        format!("{:#}", from_json(&json!([])).expect_err("refused")).contains("not a JSON object")
    );
}

#[test]
fn a_wrong_number_of_experts_names_the_mismatched_tensor() -> Result<()> {
    let config = tiny_config(RouterConfig::new(4, 2))?;
    let (_, parameters) = new_model(&config, DType::F32)?;
    let folder = tempfile::tempdir()?;
    save(folder.path(), &config, &parameters, &SpecialTokenIds::default())?;
    let more = MoeConfig { router: RouterConfig::new(5, 2), ..config };
    let json = serde_json::to_vec(&to_json(&more))?;
    std::fs::write(folder.path().join("config.json"), json)?;
    let error = format!("{:#}", open(folder.path(), DType::F32, &CPU).err().expect("refused"));
    assert!(error.contains("model.layers.0.block_sparse_moe.gate.weight has shape"), "{error}");
    Ok(())
}
