//! The list of benchmarks of `cargo x compare`.

use std::path::Path;

use anyhow::Result;
use model_io::gguf::Gguf;
use serde::Serialize;
use serde_json::{Value, json};

use crate::generation::{Weights, weight_bytes};
use crate::operation::Operation;
use crate::policy_update::PolicyUpdate;
use crate::train_step::TrainStep;

/// A row of the comparison.
#[derive(Debug, Serialize)]
pub struct Work {
    /// Name of the row.
    pub name: String,
    /// Request to both sides, without its `seconds`.
    pub request: Value,
    /// Amount of work per call, in `unit`s.
    pub amount: f64,
    /// Unit of the amount: tokens, GFLOP, GB or calls.
    pub unit: &'static str,
    /// Resource that bounds a call, if known, for the column "of peak".
    pub needs: Option<Needs>,
}

/// Amount of the resource that bounds a call.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Needs {
    /// FLOPs of the matrix products.
    Flops(f64),
    /// Bytes read from memory.
    Bytes(f64),
}

/// All rows of the comparison. Generation is included if `model` names a `.gguf` file.
///
/// # Errors
/// When the file cannot be read.
pub fn all(model: Option<&Path>) -> Result<Vec<Work>> {
    let mut all = vec![matmul(1024, 1024, 1024), matmul(2048, 1024, 384), read(512 << 20)];
    all.extend(TrainStep::all().iter().map(|(name, step)| train_step(name, step)));
    all.push(policy_update(PolicyUpdate::ARITHMETIC));
    for shape in [[8, 6, 256, 64], [1, 12, 1024, 64]] {
        all.extend([attention(shape, false), attention(shape, true)]);
    }
    all.extend(Operation::ALL.iter().map(|(name, shape)| operation(name, shape)));
    if let Some(model) = model {
        all.extend(generation(model)?);
    }
    Ok(all)
}

fn read(bytes: usize) -> Work {
    Work {
        name: format!("memory read, {} MiB of f32", bytes >> 20),
        request: json!({ "work": "read", "bytes": bytes }),
        amount: bytes as f64 / 1e9,
        unit: "GB",
        needs: Some(Needs::Bytes(bytes as f64)),
    }
}

fn matmul(m: usize, n: usize, k: usize) -> Work {
    let flops = (2 * m * n * k) as f64;
    Work {
        name: format!("matrix product {m} x {k} x {n}"),
        request: json!({ "work": "matmul", "m": m, "n": n, "k": k }),
        amount: flops / 1e9,
        unit: "GFLOP",
        needs: Some(Needs::Flops(flops)),
    }
}

fn train_step(name: &str, step: &TrainStep) -> Work {
    let mut request = json!(step);
    request["work"] = json!("train_step");
    Work {
        name: format!("train step, {name}"),
        request,
        amount: (step.batch_size * step.block_size) as f64,
        unit: "tokens",
        needs: Some(Needs::Flops(step.flops() as f64)),
    }
}

fn policy_update(update: PolicyUpdate) -> Work {
    let PolicyUpdate { prompts, samples, prompt, new, .. } = update;
    let mut request = json!(update);
    request["work"] = json!("policy_update");
    Work {
        name: format!("GRPO update, {prompts} prompts of {prompt}, {samples} completions of {new}"),
        request,
        amount: update.tokens() as f64,
        unit: "tokens",
        needs: None, // the two sides do not compute the same products
    }
}

fn attention(shape: [usize; 4], backward: bool) -> Work {
    let [b, h, t, d] = shape;
    let products = if backward { 7 } else { 2 };
    // 2 FLOPs per multiplication and addition, over the causal half.
    let flops = (products * b * h * t * t * d) as f64;
    let pass = if backward { "forward and backward" } else { "forward" };
    Work {
        name: format!("causal attention {shape:?}, {pass}"),
        request: json!({ "work": "attention", "shape": shape, "backward": backward }),
        amount: flops / 1e9,
        unit: "GFLOP",
        needs: Some(Needs::Flops(flops)),
    }
}

fn operation(name: &str, shape: &[usize]) -> Work {
    Work {
        name: format!("{name} {shape:?}, forward and backward"),
        request: json!({ "work": "op", "op": name, "shape": shape }),
        amount: 1.,
        unit: "calls",
        needs: None,
    }
}

/// Prefill of 512 tokens, and decoding of 127 tokens after 64: f32 weights against transformers,
/// quantized weights against llama.cpp.
fn generation(model: &Path) -> Result<Vec<Work>> {
    let file = Gguf::open(model)?;
    let name = model.file_stem().unwrap_or_default().to_string_lossy();
    let mut all = Vec::new();
    for (weights, format) in
        [(Weights::F32, "as f32 (transformers)"), (Weights::Quantized, "as it is (llama.cpp)")]
    {
        let bytes = weight_bytes(&file, weights);
        for (phase, prompt, new, tokens) in [("decode", 64, 128, 127), ("prefill", 512, 1, 512)] {
            let request = json!({
                "work": "generate", "model": model, "weights": weights, "prompt": prompt,
                "new": new, "time": phase,
            });
            let needs = (phase == "decode").then_some(Needs::Bytes((tokens * bytes) as f64));
            let name = format!("{phase} {tokens} tokens, {name} {format}");
            all.push(Work { name, request, amount: tokens as f64, unit: "tokens", needs });
        }
    }
    Ok(all)
}
