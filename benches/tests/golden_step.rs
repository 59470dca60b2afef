//! The benchmarked training step matches PyTorch: the same weights and batch give the same loss,
//! gradients and updated weights. The golden values come from `scripts/golden_train_step.py`.

use std::collections::BTreeMap;
use std::path::Path;

use benches::train_step::{Architecture, TrainStep};
use candle_core::{DType, Device, Module, Result, Tensor};
use modern::GptModern;
use tensor_core::ops::cross_entropy;
use tensor_core::testing::assert_close;
use tensor_core::{AdamW, AdamWConfig, Parameters, backward};

/// Sizes of the script's model.
const STEP: TrainStep = TrainStep {
    model: Architecture::Llama,
    vocab: 17,
    block_size: 7,
    n_layer: 2,
    n_head: 2,
    n_embd: 16,
    n_ff: 24,
    batch_size: 3,
};

#[test]
fn a_training_step_matches_pytorch() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/train_step.safetensors");
    let golden = candle_core::safetensors::load(path, &Device::Cpu)?;
    let weights: BTreeMap<String, Tensor> = golden
        .iter()
        .filter_map(|(name, x)| Some((name.strip_prefix("param.")?.to_owned(), x.clone())))
        .collect();
    let mut parameters =
        Parameters::from_tensors(weights, "the golden file", 0, DType::F32, &Device::Cpu);
    let model = GptModern::new(&STEP.modern(), parameters.root())?;
    parameters.ensure_all_used()?;

    let inputs = golden["inputs"].to_dtype(DType::U32)?;
    let loss = cross_entropy(&model.forward(&inputs)?, &golden["targets"])?;
    assert_close(&loss, &golden["loss"].reshape(())?, 1e-6);
    let grads = backward(&loss)?;
    for parameter in parameters.iter() {
        let grad = grads.get(parameter.var.as_tensor()).expect("every parameter has a gradient");
        assert_close(grad, &golden[&format!("grad.{}", parameter.name)], 1e-5);
    }
    AdamW::new(&parameters, AdamWConfig::default())?.step(&grads, 1e-2)?;
    for parameter in parameters.iter() {
        let stepped = &golden[&format!("stepped.{}", parameter.name)];
        assert_close(parameter.var.as_detached_tensor(), stepped, 1e-5);
    }
    Ok(())
}
