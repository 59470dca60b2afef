//! The list of work that `cargo x compare` has both sides do.

use serde::Serialize;
use serde_json::{Value, json};

use crate::operation::Operation;
use crate::train_step::Model;

/// A row of the comparison.
#[derive(Debug, Serialize)]
pub struct Work {
    /// What it is called.
    pub name: String,
    /// What both sides are asked to do, without the number of seconds.
    pub request: Value,
    /// What one call gets done, in `unit`s.
    pub amount: f64,
    /// In what speed is told: tokens, GFLOP, calls.
    pub unit: &'static str,
    /// Floating-point operations of a call's matrix products, where they are most of it.
    pub flops: Option<f64>,
}

/// Everything that is compared.
pub fn all() -> Vec<Work> {
    let mut all = vec![matmul(1024, 1024, 1024), matmul(2048, 1024, 384)];
    all.extend(Model::all().iter().map(|(name, model)| train_step(name, model)));
    for shape in [[8, 6, 256, 64], [1, 12, 1024, 64]] {
        all.extend([attention(shape, false), attention(shape, true)]);
    }
    all.extend(Operation::ALL.iter().map(|(name, shape)| operation(name, shape)));
    all
}

fn matmul(m: usize, n: usize, k: usize) -> Work {
    let flops = (2 * m * n * k) as f64;
    Work {
        name: format!("matrix product {m} x {k} x {n}"),
        request: json!({ "work": "matmul", "m": m, "n": n, "k": k }),
        amount: flops / 1e9,
        unit: "GFLOP",
        flops: Some(flops),
    }
}

fn train_step(name: &str, model: &Model) -> Work {
    let (b, t) = model.batch_shape();
    let mut request = json!(model);
    request["work"] = json!("train_step");
    Work {
        name: format!("train step, {name}"),
        request,
        amount: (b * t) as f64,
        unit: "tokens",
        flops: Some(model.flops() as f64),
    }
}

fn attention(shape: [usize; 4], backward: bool) -> Work {
    let [b, h, t, d] = shape;
    let products = if backward { 7 } else { 2 };
    let flops = (products * b * h * t * t * d) as f64; // 2 per multiplication, over the causal half
    let pass = if backward { "forward and backward" } else { "forward" };
    Work {
        name: format!("causal attention {shape:?}, {pass}"),
        request: json!({ "work": "attention", "shape": shape, "backward": backward }),
        amount: flops / 1e9,
        unit: "GFLOP",
        flops: Some(flops),
    }
}

fn operation(name: &str, shape: &[usize]) -> Work {
    Work {
        name: format!("{name} {shape:?}, forward and backward"),
        request: json!({ "work": "op", "op": name, "shape": shape }),
        amount: 1.,
        unit: "calls",
        flops: None,
    }
}
