//! GGUF files of every supported architecture: logits equal those of transformers, dequantized and
//! quantized, and the models can be trained.
//!
//! llama.cpp's own writer made the files, in its row order: see `scripts/golden_gguf_models.py` and
//! `scripts/golden_gguf_fused.py`. (llama.cpp's logits differ from those of the first by at most
//! 0.015, since its cache is f16; Gemma's by 0.15, since its table of GELU is f16, too. Those of
//! quantized weights differ by 0.17 for k_quants and by 0.46 for gemma3_q8_0, since the activations
//! are rounded to 8 bits.)

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Module, Tensor};
use model_io::config::{PositionEncoding, RopeParameters, RopeScaling};
use model_io::gguf::{Gguf, TensorFormat};
use model_io::{
    AddGenerationPrompt, AddSpecialTokens, ChatMessage, LoadMode, ParseSpecial, SpecialTokenIds,
    gguf_model, model_folder,
};
use modern::{Cache, Checkpoint, GptModern};
use serde::Deserialize;
use tensor_core::adamw::{AdamW, AdamWConfig};
use tensor_core::ops::cross_entropy;
use tensor_core::quantized::Quantization;
use tensor_core::testing::{assert_close, assert_gradients_flow};
use tensor_core::{Parameters, backward};

const CPU: Device = Device::Cpu;
const TRAINING: LoadMode = LoadMode::Training(DType::F32);
const FILES: [&str; 16] = [
    "llama",
    "llama_3",
    "smollm3",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3",
    "gemma3_q8_0",
    "k_quants",
    "phi3",
    "gpt2",
    "gpt_neox",
    "gpt_neox_q5_1",
    "mixtral",
    "qwen3_moe_q5_0",
];
/// Files with a model folder of the same tensors.
const WITH_FOLDER: [&str; 8] =
    ["llama", "qwen2", "qwen3", "gemma", "phi3", "gpt2", "gpt_neox", "mixtral"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn file(name: &str) -> PathBuf {
    golden("gguf").join(format!("{name}.gguf"))
}

fn open(name: &str, mode: LoadMode) -> Result<(GptModern, Parameters)> {
    GptModern::from_weights(gguf_model::open(&Gguf::open(&file(name))?, mode, &CPU)?)
}

/// Reference logits of transformers for a text.
#[derive(Deserialize)]
struct Reference {
    input_ids: Vec<u32>,
    logits: Vec<Vec<f32>>,
}

/// Reference of the folder with the same tensors if there is one, or else of the file itself.
fn reference(name: &str) -> Result<Reference> {
    #[derive(Deserialize)]
    struct Golden {
        sequences: Vec<Reference>,
    }
    if WITH_FOLDER.contains(&name) {
        let json = std::fs::read(golden(name).join("golden.json"))?;
        return Ok(serde_json::from_slice::<Golden>(&json)?.sequences.remove(0));
    }
    Ok(serde_json::from_slice(&std::fs::read(golden("gguf").join(format!("{name}.json")))?)?)
}

/// Logits after each token of a text: (T, V).
fn logits(model: &GptModern, ids: &[u32]) -> Result<Tensor> {
    Ok(model.forward(&Tensor::new(ids, &CPU)?.unsqueeze(0)?)?.squeeze(0)?)
}

#[test]
fn logits_equal_those_of_transformers_for_every_architecture() -> Result<()> {
    for name in FILES {
        let Reference { input_ids, logits: expected } = reference(name)?;
        let expected = Tensor::new(expected, &CPU)?;
        // Quantized weights give the same logits here: for as many as 24 rows they are dequantized,
        // and each expert has as many.
        for mode in [TRAINING, LoadMode::Inference] {
            println!("{name}, {mode:?}");
            let checkpoint = Checkpoint::open(&file(name).to_string_lossy(), mode, &CPU)?;
            assert_close(&logits(&checkpoint.model, &input_ids)?, &expected, 1e-4);
            let special_ids = match name.starts_with("gemma") {
                true => SpecialTokenIds { bos: Some(2), eos: vec![1, 5] },
                false => SpecialTokenIds { bos: Some(1), eos: vec![2] },
            };
            assert_eq!(checkpoint.special_ids, special_ids, "{name}");
        }
    }
    Ok(())
}

#[test]
fn the_llama_3_rope_scaling_is_read_and_applied() -> Result<()> {
    let (model, _) = open("llama_3", TRAINING)?;
    let rope = model.config().attention.position.rope_parameters();
    let Some(RopeParameters { base, scaling: Some(RopeScaling::Llama3(scaling)), .. }) = rope
    else {
        panic!("no scaling: {:?}", model.config())
    };
    assert_eq!((base, scaling.factor, scaling.original_context_len), (200_000., 8., 8192));
    let scaled = logits(&model, &reference("llama_3")?.input_ids)?;
    let mut config = *model.config();
    config.attention.position = PositionEncoding::rope(base);
    let (_, parameters) = open("llama_3", TRAINING)?;
    let unscaled_model = GptModern::new(&config, parameters.for_inference().root())?;
    let unscaled = logits(&unscaled_model, &reference("llama_3")?.input_ids)?;
    let difference = (scaled - unscaled)?.abs()?.max_all()?.to_scalar::<f32>()?;
    assert!(difference > 1e-2, "the scaling changes the logits by {difference} only");
    Ok(())
}

#[test]
fn the_layers_of_gemma_3_differ_as_in_llama_cpp() -> Result<()> {
    let (model, _) = open("gemma3", TRAINING)?;
    let attention = model.config().attention;
    let scaling = Some(RopeScaling::Linear { factor: 4. });
    let rope = RopeParameters { scaling, ..RopeParameters::new(1000.) };
    assert_eq!(attention.position, PositionEncoding::Rope(rope));
    let window = attention.window.expect("a window");
    assert_eq!((window.full_attention_interval, window.local_rope_base), (Some(6), Some(10_000.)));
    let (model, _) = open("gemma3_q8_0", TRAINING)?; // its metadata have both
    let window = model.config().attention.window.expect("a window");
    assert_eq!((window.full_attention_interval, window.local_rope_base), (Some(2), Some(50.)));
    Ok(())
}

/// llama.cpp's token ids. Spaces and line breaks are tokens of their own, there is no space before
/// a text, and `<end_of_turn>`, which no metadata names, ends it.
#[test]
fn the_tokenizer_and_the_chat_template_of_gemma_are_those_of_llama_cpp() -> Result<()> {
    let path = file("gemma3");
    let checkpoint = Checkpoint::open(&path.to_string_lossy(), LoadMode::Inference, &CPU)?;
    for (text, expected) in [
        ("ab  cd\nab", vec![2, 56, 7, 57, 6, 56]),
        ("ee cd", vec![2, 62, 59]),
        (" ab", vec![2, 58]),
        ("a   b", vec![2, 9, 7, 36]),
    ] {
        let ids = checkpoint.tokenizer.encode(text, AddSpecialTokens::Yes, ParseSpecial::No)?;
        assert_eq!(ids, expected, "{text:?}");
    }
    let template = checkpoint.chat_template.as_ref().expect("the file has a template");
    let chat = |text: &str| -> Result<Vec<u32>> {
        let messages = [ChatMessage::user(text)];
        let chat = template.encode(&checkpoint.tokenizer, &messages, AddGenerationPrompt::Yes)?;
        Ok(chat.tokens)
    };
    let expected = [2, 4, 29, 27, 13, 26, 6, 56, 7, 57, 5, 6, 4, 21, 23, 12, 13, 20, 6];
    assert_eq!(chat("ab  cd")?, expected);
    let n_ends = |ids: &[u32]| ids.iter().filter(|&&id| id == 5).count();
    assert_eq!(n_ends(&chat("ab<end_of_turn>cd")?), 1, "typed by the user");
    Ok(())
}

/// Logits after each token of the golden text, read token by token.
fn logits_token_by_token(file: &Gguf, input_ids: &[u32]) -> Result<Tensor> {
    let (model, parameters) =
        GptModern::from_weights(gguf_model::open(file, LoadMode::Inference, &CPU)?)?;
    let model = GptModern::new(model.config(), parameters.for_inference().root())?;
    let mut cache = Cache::dynamic(model.config().n_layer);
    let mut rows = Vec::new();
    for &id in input_ids {
        let id = Tensor::new(&[[id]], &CPU)?; // (1, 1)
        let hidden = model.hidden_states_cached(&id, &mut cache)?; // (1, 1, C)
        rows.push(model.logits(&hidden)?.squeeze(0)?); // (1, V)
    }
    Ok(Tensor::cat(&rows, 0)?)
}

/// Token by token, quantized weights are multiplied with 8-bit activations, whose error is up to
/// 1/254 of the largest in a block of 32.
#[test]
fn quantized_logits_are_close_to_the_dequantized_ones() -> Result<()> {
    let mut formats = HashSet::new();
    // The second number is the error of llama.cpp, or what `golden_gguf_fused.py` expects.
    for (name, other_error, limit) in [
        ("k_quants", 0.032, 0.032),
        ("gemma3_q8_0", 0.077, 0.085),
        ("gpt_neox_q5_1", 0.027, 0.04),
        ("qwen3_moe_q5_0", 0.046, 0.065),
    ] {
        let Reference { input_ids, logits: expected } = reference(name)?;
        let gguf = Gguf::open(&file(name))?;
        formats.extend(gguf.tensor_infos().map(|(_, info)| info.format));
        let logits = logits_token_by_token(&gguf, &input_ids)?;
        let error = (logits - Tensor::new(expected, &CPU)?)?;
        let error = error.sqr()?.mean_all()?.to_scalar::<f32>()?.sqrt();
        println!("{name}: root mean square error {error}");
        assert!(error > 1e-4, "the small-batch kernel for quantized weights was not used");
        assert!(error < limit, "{name}: the error is {error}, expected {other_error}");
    }
    for format in Quantization::ALL.map(TensorFormat::Quantized) {
        assert!(formats.contains(&format), "no file has a tensor in {format}");
    }
    Ok(())
}

/// Next-token loss on the golden text, and its gradients.
fn loss(name: &str, model: &GptModern) -> Result<(f32, GradStore)> {
    let ids = reference(name)?.input_ids;
    let targets: Vec<i64> = ids[1..].iter().map(|&id| i64::from(id)).collect();
    let loss = cross_entropy(&logits(model, &ids[..ids.len() - 1])?, &Tensor::new(targets, &CPU)?)?;
    Ok((loss.to_scalar()?, backward(&loss)?))
}

#[test]
fn every_parameter_of_a_gguf_model_can_be_trained() -> Result<()> {
    for name in FILES {
        let (model, parameters) = open(name, TRAINING)?;
        let (before, grads) = loss(name, &model)?;
        assert_gradients_flow(&parameters, &grads)?;
        let mut optimizer = AdamW::new(&parameters, AdamWConfig::default())?;
        optimizer.step(&grads, 1e-4)?;
        let (after, _) = loss(name, &model)?;
        assert!(after < before, "{name}: {before} before the step, {after} after it");
    }
    Ok(())
}

/// Compares parameter by parameter, which also checks the row order of q and k: every number must
/// be where the folder has it.
#[test]
fn a_training_step_equals_that_of_the_model_folder() -> Result<()> {
    for name in WITH_FOLDER {
        let mut after = Vec::new();
        let folder = model_folder::open(&golden(name), DType::F32, &CPU)?;
        for (model, parameters) in [open(name, TRAINING)?, GptModern::from_weights(folder)?] {
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
            // Both sides apply the same operations to the same numbers.
            assert_close(&grads[key], &folder_grads[key], 1e-6);
            assert_close(&numbers[key], &folder_numbers[key], 1e-6);
        }
    }
    Ok(())
}
