//! 1.7 Which map is untrained? (predict, 5 minutes, ●○○)
//!
//! Four heads read the same eight tokens; below each stands the last row of its attention weights.
//! One of the heads is of a model of 64 channels before any training: weights of standard deviation
//! 0.02, after a layer norm.
//!
//! Hint: How large are queries and keys if the weights are that small?
//! Hint: With 64 channels after a layer norm a query has numbers of about 0.02 √64 = 0.16.
//! Hint: So scores are near 0, and the softmax of nearly equal numbers is nearly uniform; nearly.
//! Read: crates/part_1_attention/src/block_config.rs: INIT_STD
//! Read: book/src/01_attention.md: ## Why divide by √D

use attention::{attention_weights, sinusoidal_positions};
use candle_core::{DType, Device, Result, Tensor};
use tensor_core::Rng;

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    let maps = maps().expect("memory for four small maps");
    vec![
        Prediction::choice(
            format!("Which is the untrained one?\n{}", maps.join("\n")),
            &["map 1", "map 2", "map 3", "map 4"],
            2,
            "Its weights differ by a few per cent: nearly uniform, because the scores are near 0.",
        )
        .trap(0., "that head attends to the token before: someone set its query to do so")
        .trap(1., "exactly equal weights need a query of 0; random numbers give none")
        .trap(3., "weights that sharp need scores of several units; the untrained ones are near 0"),
    ]
}

/// Last rows of the four maps.
fn maps() -> Result<[String; 4]> {
    let (t, c, d) = (8, 64, 64);
    let mut rng = Rng::new(3);
    let mut normal =
        |rows, columns, std| rng.normal_tensor((rows, columns), std, DType::F64, &Device::Cpu);
    let x = normal(t, c, 1.)?; // after a layer norm
    let positions = (sinusoidal_positions(t + 1, 32, DType::F64, &Device::Cpu)? * 6.)?;
    let previous = attention_weights(&positions.narrow(0, 0, t)?, &positions.narrow(0, 1, t)?)?;
    let uniform = attention_weights(&x.zeros_like()?, &x)?;
    let untrained =
        attention_weights(&x.matmul(&normal(c, d, 0.02)?)?, &x.matmul(&normal(c, d, 0.02)?)?)?;
    let sharp =
        attention_weights(&x.matmul(&normal(c, d, 0.25)?)?, &x.matmul(&normal(c, d, 0.25)?)?)?;
    let mut number = 0;
    let mut row = |map: &Tensor| -> Result<String> {
        number += 1;
        let row = map.narrow(0, t - 1, 1)?.flatten_all()?.to_vec1::<f64>()?;
        let cells: Vec<_> =
            row.iter().map(|weight| format!("{weight:.4}")[1..].to_string()).collect();
        Ok(format!("  map {number}  {}", cells.join(" ")))
    };
    Ok([row(&previous)?, row(&uniform)?, row(&untrained)?, row(&sharp)?])
}
