//! 4.5 What a pretraining run logs besides its losses: samples, and the size of the queries, keys
//! and values.

use anyhow::Result;
use candle_core::{DType, Tensor};
use experiment::RunLog;
use experiment::terminal::printable;
use model_io::{SkipSpecialTokens, Tokenizer};
use modern::sampler::{Sampler, SamplingStrategy};
use modern::{GenerateConfig, GptModern, generate};
use serde_json::{Map, Value, json};
use tensor_core::Rng;

use crate::evaluation::ValidationConfig;

/// Prints and logs a sample of `model` (for inference) after `step` steps, always with the same
/// seed.
///
/// # Errors
/// When generation fails, or the sample cannot be written.
pub fn log_sample(
    step: usize,
    model: &GptModern,
    tokenizer: &Tokenizer,
    validation: &ValidationConfig,
    log: &mut RunLog,
) -> Result<()> {
    let Some(eos) = tokenizer.eos() else { return Ok(()) };
    let sampler = Sampler::new(SamplingStrategy::from(validation.sampling));
    let config = GenerateConfig::new(model, sampler, validation.sample_len, vec![eos]);
    let text = log.suspend(|| {
        let completion =
            generate(model, &[vec![eos]], &config, &mut Rng::new(0), |_, _| Ok(()))?.remove(0);
        let text = tokenizer.decode(&completion.tokens, SkipSpecialTokens::Yes)?;
        println!("--- sample after {step} steps\n{}\n---", printable(text.trim()));
        anyhow::Ok(text)
    })?;
    log.row(step, json!({ "sample": text }))
}

/// Logs the distribution of the queries, keys and values of each layer of `model` (for inference)
/// on `ids: (1, T)`. Unbounded growth here is the first sign of divergence.
///
/// # Errors
/// When the forward pass fails, or the row cannot be written.
pub fn log_qkv_statistics(
    step: usize,
    model: &GptModern,
    ids: &Tensor,
    log: &mut RunLog,
) -> Result<()> {
    let mut rms_row = Map::new();
    let layers = log.suspend(|| model.queries_keys_values(ids))?;
    for (layer, tensors) in layers.iter().enumerate() {
        for (name, tensor) in ["queries", "keys", "values"].iter().zip(tensors) {
            let values: Vec<f32> = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
            let squares: f64 = values.iter().map(|&x| f64::from(x).powi(2)).sum();
            let name = format!("layer_{layer}/{name}");
            if let Some(tracker) = log.tracker() {
                tracker.log_histogram(step, &name, &values)?;
            }
            rms_row.insert(format!("{name}_rms"), (squares / values.len() as f64).sqrt().into());
        }
    }
    log.row(step, Value::Object(rms_row))
}
