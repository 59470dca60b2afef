//! Perplexity of a real model on a real text, compared with transformers: SmolLM2-135M on the first
//! 280 tokens of a TinyStory.

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use model_io::{AddSpecialTokens, LoadMode, ParseSpecial};
use modern::{Cache, Checkpoint};
use serde_json::Value;
use tensor_core::ops::token_log_probs;
use tensor_core::testing::{Program, course_data};

const PART_3: Program = Program(env!("CARGO_BIN_EXE_part_3"));

const MODEL: &str = "models/SmolLM2-135M-Instruct.Q4_1.gguf";
const STORIES: &str = "data/tinystories-2m.txt";

/// Perplexity by `scripts/reference_perplexity.py` on these two files: transformers 5.23.0 on the
/// dequantized weights. (llama.cpp, with llama-cpp-python 0.3.36: 8.72488 in one batch, 8.75619
/// token by token.)
const REFERENCE: f64 = 8.69488;
/// Number of tokens of the reference, and the sum of their IDs.
const TOKENS: (usize, u64) = (280, 929_943);

/// Model path and text: the first story of over 1,150 bytes, as in the script.
fn model_and_story() -> Option<(String, String)> {
    let (model, stories) = (course_data(MODEL)?, course_data(STORIES)?);
    let bytes = std::fs::read(stories).expect("stories");
    let stories = String::from_utf8_lossy(&bytes);
    let mut stories = stories.split("<|endoftext|>").map(str::trim);
    let story = stories.find(|story| story.len() > 1150).expect("a long story");
    Some((model.to_string_lossy().into_owned(), story.into()))
}

/// Perplexity exp(−mean log p) of all but the first of [`TOKENS`].
fn perplexity(ids: &[u64], log_probs: &[f64]) -> f64 {
    let (n, sum) = TOKENS;
    assert_eq!(ids[..n].iter().sum::<u64>(), sum, "these are not the tokens of the reference");
    (-log_probs[..n - 1].iter().sum::<f64>() / (n - 1) as f64).exp()
}

/// Asserts that a perplexity equals the reference up to a relative tolerance.
fn assert_near(perplexity: f64, tolerance: f64) {
    let difference = perplexity / REFERENCE - 1.;
    println!("perplexity {perplexity:.5}, difference {:+.4} %", 100. * difference);
    assert!(
        difference.abs() < tolerance,
        "{perplexity} is not {REFERENCE}; 150 would mean a wrong row order of q and k"
    );
}

/// Perplexity of a file by `part_3 score`.
fn score(model: &str, story: &Path, flags: &[&str]) -> Result<f64> {
    let story = story.to_string_lossy();
    let args = ["score", "--json", "--model", model, "--text-file", &story];
    let report = PART_3.stdout_json(&[&args[..], flags].concat());
    let list = |key: &str| report[key].as_array().with_context(|| format!("missing list `{key}`"));
    let ids: Vec<u64> = list("token_ids")?.iter().filter_map(Value::as_u64).collect();
    let log_probs: Vec<f64> = list("logprobs")?.iter().filter_map(Value::as_f64).collect();
    Ok(perplexity(&ids, &log_probs))
}

#[test]
fn score_gives_the_perplexity_of_transformers() -> Result<()> {
    let Some((model, story)) = model_and_story() else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("story.txt");
    std::fs::write(&file, story)?;
    // Both sides compute with the same f32 weights; only the order of the sums differs.
    assert_near(score(&model, &file, &["--dequantize"])?, 1e-3);
    assert_near(score(&model, &file, &[])?, 1e-2);
    Ok(())
}

/// Token by token, as in generation, the small-batch kernel rounds activations to 8 bits.
#[test]
fn token_by_token_perplexity_is_within_one_percent() -> Result<()> {
    let Some((model, story)) = model_and_story() else { return Ok(()) };
    let Checkpoint { model, tokenizer, .. } =
        Checkpoint::open(&model, LoadMode::Inference, &Device::Cpu)?;
    let ids = tokenizer.encode(&story, AddSpecialTokens::Yes, ParseSpecial::No)?;
    let mut cache = Cache::dynamic(model.config().n_layer);
    let mut log_probs = Vec::new();
    for pair in ids[..TOKENS.0].windows(2) {
        let input = Tensor::new(&[[pair[0]]], &Device::Cpu)?; // (1, 1)
        let logits = model.logits(&model.hidden_states_cached(&input, &mut cache)?)?; // (1, 1, V)
        let target = Tensor::new(&[[i64::from(pair[1])]], &Device::Cpu)?;
        let log_prob = token_log_probs(&logits, &target)?.to_dtype(DType::F64)?;
        log_probs.extend(log_prob.flatten_all()?.to_vec1::<f64>()?);
    }
    let ids: Vec<u64> = ids.into_iter().map(u64::from).collect();
    assert_near(perplexity(&ids, &log_probs), 1e-2);
    Ok(())
}
