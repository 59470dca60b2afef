//! GGUF files of every architecture that is opened answer as transformers does, in numbers and in blocks, and can be trained.
//!
//! The files are of llama.cpp's own writer, in its order of rows: see `scripts/golden_gguf_models.py`. (llama.cpp opens
//! them too, with logits within 0.01 of these, 0.17 of k_quants'.)

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};
use modern::config::PositionEncoding;
use modern::gguf::{Gguf, TensorFormat};
use modern::{Cache, Checkpoint, GptModern, model_folder};
use modern::{LoadMode, gguf_model};
use serde::Deserialize;
use tensor_core::adamw::{AdamW, AdamWConfig};
use tensor_core::ops::cross_entropy;
use tensor_core::quantized::Quantization;
use tensor_core::testing::{assert_close, assert_gradients_flow};
use tensor_core::{Parameters, backward};

const CPU: Device = Device::Cpu;
const TRAINING: LoadMode = LoadMode::Training(DType::F32);
/// Those of a folder beside, with the same tensors.
const TWINS: [&str; 3] = ["llama", "qwen2", "qwen3"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn file(name: &str) -> PathBuf {
    golden("gguf").join(format!("{name}.gguf"))
}

fn open(name: &str, purpose: LoadMode) -> Result<(GptModern, Parameters)> {
    gguf_model::open(&Gguf::open(&file(name))?, purpose, &CPU)
}

/// What transformers answers to a text.
#[derive(Deserialize)]
struct Answer {
    input_ids: Vec<u32>,
    logits: Vec<Vec<f32>>,
}

/// That of the folder with the same tensors, else the file's own.
fn answer(name: &str) -> Result<Answer> {
    #[derive(Deserialize)]
    struct Golden {
        sequences: Vec<Answer>,
    }
    if TWINS.contains(&name) {
        let json = std::fs::read(golden(name).join("golden.json"))?;
        return Ok(serde_json::from_slice::<Golden>(&json)?.sequences.remove(0));
    }
    Ok(serde_json::from_slice(&std::fs::read(golden("gguf").join(format!("{name}.json")))?)?)
}

/// The scores after each token of a whole text: (T, V).
fn logits(model: &GptModern, ids: &[u32]) -> Result<Tensor> {
    Ok(model.forward(&Tensor::new(ids, &CPU)?.unsqueeze(0)?)?.squeeze(0)?)
}

#[test]
fn every_architecture_answers_as_in_transformers() -> Result<()> {
    for name in ["llama", "llama_3", "qwen2", "qwen3", "k_quants"] {
        let Answer { input_ids, logits: expected } = answer(name)?;
        let expected = Tensor::new(expected, &CPU)?;
        // In blocks too: 40 rows are many, for which the blocks are taken apart.
        for purpose in [TRAINING, LoadMode::Inference] {
            println!("{name}, {purpose:?}");
            let checkpoint = Checkpoint::open(&file(name).to_string_lossy(), purpose, &CPU)?;
            assert_close(&logits(&checkpoint.model, &input_ids)?, &expected, 1e-4)?;
            assert_eq!(
                (checkpoint.special_ids.bos, &checkpoint.special_ids.eos[..]),
                (Some(1), &[2][..])
            );
        }
    }
    Ok(())
}

#[test]
fn the_factors_of_llama_3_are_its_four_numbers() -> Result<()> {
    let (model, _) = open("llama_3", TRAINING)?;
    let PositionEncoding::Rope { base, scaling: Some(scaling) } = model.config().attention.position
    else {
        panic!("no scaling: {:?}", model.config())
    };
    assert_eq!((base, scaling.factor, scaling.original_context_len), (200_000., 8., 8192));
    let without = logits(&model, &answer("llama_3")?.input_ids)?;
    let mut config = *model.config();
    config.attention.position = PositionEncoding::Rope { base, scaling: None };
    let (_, parameters) = open("llama_3", TRAINING)?;
    let unscaled = GptModern::new(&config, parameters.for_inference().root())?;
    let unscaled = logits(&unscaled, &answer("llama_3")?.input_ids)?;
    let off = (without - unscaled)?.abs()?.max_all()?.to_scalar::<f32>()?;
    assert!(off > 1e-2, "the text is long enough to feel the scaling: {off}");
    Ok(())
}

/// Read token by token, blocks meet activations of 8 bits: each is off by up to 1/254 of the largest of 32.
#[test]
fn blocks_of_several_formats_answer_nearly_as_their_numbers() -> Result<()> {
    let Answer { input_ids, logits: expected } = answer("k_quants")?;
    let file = Gguf::open(&file("k_quants"))?;
    for format in Quantization::ALL.map(TensorFormat::Quantized) {
        assert!(
            file.tensor_infos().any(|(_, info)| info.format == format),
            "no tensor is in {format}"
        );
    }
    let (model, parameters) = gguf_model::open(&file, LoadMode::Inference, &CPU)?;
    let model = GptModern::new(model.config(), parameters.for_inference().root())?;
    let mut cache = Cache::dynamic(model.config().n_layer);
    let mut rows = Vec::new();
    for id in input_ids {
        let hidden = model.hidden_states_cached(&Tensor::new(&[[id]], &CPU)?, &mut cache)?; // (1, 1, C)
        rows.push(model.logits(&hidden)?.squeeze(0)?); // (1, V)
    }
    let off = (Tensor::cat(&rows, 0)? - Tensor::new(expected, &CPU)?)?;
    let off = off.sqr()?.mean_all()?.to_scalar::<f32>()?.sqrt();
    println!("off by {off} in the mean");
    assert!(off > 1e-4, "the products of few rows were not asked");
    assert!(off < 0.032, "llama.cpp's logits are off by 0.032, ours by {off}");
    Ok(())
}

/// The loss of predicting each token of the golden text, and its gradient.
fn loss(name: &str, model: &GptModern) -> Result<(f32, GradStore)> {
    let ids = answer(name)?.input_ids;
    let targets: Vec<i64> = ids[1..].iter().map(|&id| i64::from(id)).collect();
    let loss = cross_entropy(&logits(model, &ids[..ids.len() - 1])?, &Tensor::new(targets, &CPU)?)?;
    Ok((loss.to_scalar()?, backward(&loss)?))
}

#[test]
fn every_parameter_of_a_file_learns() -> Result<()> {
    for name in ["llama", "llama_3", "qwen2", "qwen3", "k_quants"] {
        let (model, parameters) = open(name, TRAINING)?;
        let (before, grads) = loss(name, &model)?;
        assert_gradients_flow(&parameters, &grads)?;
        let mut optimizer = AdamW::new(&parameters, AdamWConfig::default())?;
        optimizer.step(&grads, 1e-3)?;
        let (after, _) = loss(name, &model)?;
        assert!(after < before, "{name}: {before} before the step, {after} after it");
    }
    Ok(())
}

/// Rows of q and k back in their order show here and not in the logits alone: each number is where the folder has it.
#[test]
fn a_step_of_training_is_that_of_the_folder_with_the_same_tensors() -> Result<()> {
    for name in TWINS {
        let mut after = Vec::new();
        for (model, parameters) in
            [open(name, TRAINING)?, model_folder::open(&golden(name), DType::F32, &CPU)?]
        {
            let (_, grads) = loss(name, &model)?;
            let grad = |p: &tensor_core::Parameter| {
                (p.name.clone(), grads.get(p.var.as_tensor()).cloned().expect("a gradient"))
            };
            let gradients: BTreeMap<String, Tensor> = parameters.iter().map(grad).collect();
            AdamW::new(&parameters, AdamWConfig::default())?.step(&grads, 1e-3)?;
            let numbers = parameters.iter().map(|p| (p.name.clone(), p.var.as_detached_tensor()));
            after.push((gradients, numbers.collect::<BTreeMap<_, _>>()));
        }
        let [(grads, numbers), (folder_grads, folder_numbers)] = &after[..] else { panic!("two") };
        assert!(grads.keys().eq(folder_grads.keys()), "{name}");
        for key in grads.keys() {
            println!("{name}: {key}");
            // The same numbers through the same operations.
            assert_close(&grads[key], &folder_grads[key], 1e-6)?;
            assert_close(&numbers[key], &folder_numbers[key], 1e-6)?;
        }
    }
    Ok(())
}
