//! A real model finds a real text as likely as transformers says: SmolLM2-135M on the first 280 tokens of a TinyStory.

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use modern::LoadMode;
use modern::{AddSpecialTokens, Cache, Checkpoint, ParseSpecial};
use serde_json::Value;
use tensor_core::ops::token_log_probs;
use tensor_core::testing::{Program, course_data};

const PART_3: Program = Program(env!("CARGO_BIN_EXE_part_3"));

const MODEL: &str = "models/SmolLM2-135M-Instruct.Q4_1.gguf";
const STORIES: &str = "data/tinystories-2m.txt";

/// What `scripts/reference_perplexity.py` printed of these two files: transformers 5.23.0 on the blocks taken apart.
/// (llama.cpp, by llama-cpp-python 0.3.36: 8.72488 reading all at once, 8.75619 token by token.)
const REFERENCE: f64 = 8.69488;
/// Of how many tokens, and their sum.
const TOKENS: (usize, u64) = (280, 929_943);

/// The model and the text: the first story of over 1,150 bytes, as in the script.
fn model_and_story() -> Option<(String, String)> {
    let (model, stories) = (course_data(MODEL)?, course_data(STORIES)?);
    let bytes = std::fs::read(stories).expect("stories");
    let stories = String::from_utf8_lossy(&bytes);
    let mut stories = stories.split("<|endoftext|>").map(str::trim);
    let story = stories.find(|story| story.len() > 1150).expect("a long story");
    Some((model.to_string_lossy().into_owned(), story.into()))
}

/// exp(−mean log p) of the second to the last of [`TOKENS`].
fn perplexity(ids: &[u64], log_probs: &[f64]) -> f64 {
    let (n, sum) = TOKENS;
    assert_eq!(ids[..n].iter().sum::<u64>(), sum, "these are not the tokens of the reference");
    (-log_probs[..n - 1].iter().sum::<f64>() / (n - 1) as f64).exp()
}

/// Asserts that a perplexity is the reference's but for a share of it.
fn assert_near(found: f64, share: f64) {
    let off = found / REFERENCE - 1.;
    println!("perplexity {found:.5}, {:+.4} % off", 100. * off);
    assert!(
        off.abs() < share,
        "{found} is not {REFERENCE}; 150 would mean that rows of q and k are out of order"
    );
}

/// What `part_3 score` says of a file.
fn said(model: &str, story: &Path, flags: &[&str]) -> Result<f64> {
    let story = story.to_string_lossy();
    let args = ["score", "--json", "--model", model, "--text-file", &story];
    let said = PART_3.stdout_json(&[&args[..], flags].concat());
    let list = |key: &str| said[key].as_array().with_context(|| format!("no list `{key}`"));
    let ids: Vec<u64> = list("token_ids")?.iter().filter_map(Value::as_u64).collect();
    let log_probs: Vec<f64> = list("logprobs")?.iter().filter_map(Value::as_f64).collect();
    Ok(perplexity(&ids, &log_probs))
}

#[test]
fn score_finds_the_perplexity_that_transformers_finds() -> Result<()> {
    let Some((model, story)) = model_and_story() else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("story.txt");
    std::fs::write(&file, story)?;
    // The same numbers in f32 on both sides: what differs is the order of the sums.
    assert_near(said(&model, &file, &["--dequantize"])?, 1e-3);
    assert_near(said(&model, &file, &[])?, 1e-2);
    Ok(())
}

/// One token at a time is how a model writes: products of few rows, which round what they multiply blocks with.
#[test]
fn read_token_by_token_the_blocks_lose_less_than_a_percent() -> Result<()> {
    let Some((model, story)) = model_and_story() else { return Ok(()) };
    let Checkpoint { model, tokenizer, .. } =
        Checkpoint::open(&model, LoadMode::Inference, &Device::Cpu)?;
    let ids = tokenizer.encode(&story, AddSpecialTokens::Yes, ParseSpecial::No)?;
    let mut cache = Cache::dynamic(model.config().n_layer);
    let mut log_probs = Vec::new();
    for pair in ids[..TOKENS.0].windows(2) {
        let read = Tensor::new(&[[pair[0]]], &Device::Cpu)?; // (1, 1)
        let logits = model.logits(&model.hidden_states_cached(&read, &mut cache)?)?; // (1, 1, V)
        let target = Tensor::new(&[[i64::from(pair[1])]], &Device::Cpu)?;
        let log_prob = token_log_probs(&logits, &target)?.to_dtype(DType::F64)?;
        log_probs.extend(log_prob.flatten_all()?.to_vec1::<f64>()?);
    }
    let ids: Vec<u64> = ids.into_iter().map(u64::from).collect();
    assert_near(perplexity(&ids, &log_probs), 1e-2);
    Ok(())
}
