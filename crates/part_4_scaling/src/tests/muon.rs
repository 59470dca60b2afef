//! Muon in a run: the parameters that it trains in models shaped like Llama and GPT-2, and a
//! checkpoint of its state.

use std::collections::BTreeSet;

use anyhow::Result;
use candle_core::{DType, Device};
use model_io::ModelConfig;
use tensor_core::{MuonConfig, OptimizerConfig};

use crate::PretrainState;

fn new_state(model: ModelConfig, optimizer: OptimizerConfig) -> Result<PretrainState> {
    PretrainState::new(model, optimizer, DType::F32, 1, &Device::Cpu)
}

fn muon() -> OptimizerConfig {
    OptimizerConfig::Muon(MuonConfig::default())
}

fn variant(name: &str) -> ModelConfig {
    let mut variants = model_io::testing::variants().into_iter();
    variants.find(|(variant, _)| *variant == name).expect("a variant").1
}

/// Names of the parameters of layer 0 and outside the layers whose state has the tensor `what`.
fn names(state: &PretrainState, what: &str) -> Result<BTreeSet<String>> {
    let tensors = state.train.optimizer.state_dict()?;
    let names = tensors.keys().filter_map(|name| name.strip_suffix(what)?.strip_suffix('.'));
    Ok(names.filter(|name| !name.contains(".1.")).map(String::from).collect())
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| name.to_string()).collect()
}

#[test]
fn muon_trains_the_matrices_of_llamas_layers_and_adamw_the_rest() -> Result<()> {
    let state = new_state(variant("untied"), muon())?;
    let matrices = ["q", "k", "v", "o"].map(|of| format!("self_attn.{of}_proj"));
    let mlp = ["gate", "up", "down"].map(|of| format!("mlp.{of}_proj"));
    let matrices = matrices.into_iter().chain(mlp);
    let matrices: BTreeSet<String> =
        matrices.map(|matrix| format!("model.layers.0.{matrix}.weight")).collect();
    assert_eq!(names(&state, "momentum")?, matrices);
    let rest = [
        "lm_head.weight",
        "model.embed_tokens.weight",
        "model.layers.0.input_layernorm.weight",
        "model.layers.0.post_attention_layernorm.weight",
        "model.norm.weight",
    ];
    assert_eq!(names(&state, "first")?, set(&rest));
    Ok(())
}

#[test]
fn muon_trains_the_matrices_of_gpt2s_layers_and_adamw_the_rest() -> Result<()> {
    let state = new_state(variant("gpt2"), muon())?;
    let layers = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"];
    let of_layers = |what: &str| layers.map(|layer| format!("transformer.h.0.{layer}.{what}"));
    assert_eq!(names(&state, "momentum")?, BTreeSet::from(of_layers("weight")));
    let mut rest = BTreeSet::from(of_layers("bias"));
    for norm in ["h.0.ln_1", "h.0.ln_2", "ln_f"] {
        rest.extend(["weight", "bias"].map(|what| format!("transformer.{norm}.{what}")));
    }
    rest.extend(set(&["transformer.wpe.weight", "transformer.wte.weight"]));
    assert_eq!(names(&state, "first")?, rest);
    Ok(())
}

#[test]
fn a_checkpoint_of_muon_is_restored_and_refused_under_another_optimizer() -> Result<()> {
    let (folder, model) = (tempfile::tempdir()?, variant("llama"));
    let saved = new_state(model, muon())?;
    saved.train.save(folder.path(), "data")?;
    new_state(model, muon())?.train.restore(folder.path(), "data")?;
    let mut other = new_state(model, OptimizerConfig::default())?;
    let error = other.train.restore(folder.path(), "data").expect_err("another optimizer");
    let error = format!("{error:#}");
    assert!(error.contains("optimizer.safetensors") && error.contains("--optim"), "{error}");
    Ok(())
}
