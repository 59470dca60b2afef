//! Chapter 1: an induction head set by hand. Two heads, one above the other, complete any repeated
//! string, and nothing was trained.
//!
//! Elhage et al. 2021, <https://transformer-circuits.pub/2021/framework/index.html>; Olsson et al.
//! 2022, <https://arxiv.org/abs/2209.11895>.

use anyhow::Result;
use attention::readable_heads::rotate_back_one_position;
use attention::{attention_weights, sinusoidal_positions};
use candle_core::{D, DType, Device, Tensor};
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;
use tensor_core::Rng;

use crate::artifacts::Artifact;
use crate::plot::{self, INK, PALETTE};

/// Letters of the alphabet of the strings.
const LETTERS: usize = 12;
/// Token before every text. Without it, the first letter would find nothing before itself but
/// itself.
const START: u32 = LETTERS as u32;
/// Factor of queries and keys, which makes the softmax sharp.
const SHARPNESS: f64 = 8.;

/// Both attention maps (T, T), and the predicted next token of each position.
pub(crate) struct Prediction {
    pub(crate) previous_token: Tensor,
    pub(crate) induction: Tensor,
    pub(crate) next: Vec<u32>,
}

// ANCHOR: induction
/// Two heads over `tokens`: letters after a start token.
pub(crate) fn predict(tokens: &[u32]) -> Result<Prediction> {
    let device = Device::Cpu;
    let content = Tensor::eye(LETTERS + 1, DType::F32, &device)?; // one-hot tokens
    let content = content.index_select(&Tensor::new(tokens, &device)?, 0)?; // (T, LETTERS + 1)
    let position = (sinusoidal_positions(tokens.len(), 32, DType::F32, &device)? * SHARPNESS)?;
    // Layer 1: each token looks one position back and copies the letter that it finds there.
    let query = rotate_back_one_position(&position)?;
    let previous_token = attention_weights(&query, &position)?; // (T, T)
    let previous_letter = previous_token.matmul(&content)?; // (T, LETTERS + 1)
    // Layer 2: each token looks for tokens that follow its own letter, and copies their letter.
    let (query, key) = ((&content * SHARPNESS)?, (&previous_letter * SHARPNESS)?);
    let induction = attention_weights(&query, &key)?; // (T, T)
    let logits = induction.matmul(&content)?; // (T, LETTERS + 1)
    let next = logits.argmax(D::Minus1)?.to_vec1()?;
    Ok(Prediction { previous_token, induction, next })
}
// ANCHOR_END: induction

/// Start token, then the letters in a random order, twice.
pub(crate) fn repeated_string(seed: u64) -> Vec<u32> {
    let mut letters: Vec<u32> = (0..LETTERS as u32).collect();
    Rng::new(seed).shuffle(&mut letters);
    [vec![START], letters.repeat(2)].concat()
}

/// Share of the second half's letters that were predicted.
pub(crate) fn accuracy(tokens: &[u32], prediction: &Prediction) -> f64 {
    let second = LETTERS + 1;
    let pairs = || prediction.next[second..].iter().zip(&tokens[second + 1..]);
    pairs().filter(|(predicted, actual)| predicted == actual).count() as f64
        / pairs().count() as f64
}

fn letter(token: u32) -> String {
    if token == START { "·".to_string() } else { char::from(b'a' + token as u8).to_string() }
}

/// Prints strings and what the heads predict.
pub(crate) fn run() -> Result<()> {
    let (mut total, n) = (0., 100);
    for seed in 0..n {
        let tokens = repeated_string(seed);
        let prediction = predict(&tokens)?;
        total += accuracy(&tokens, &prediction);
        if seed < 3 {
            let text = |tokens: &[u32]| tokens.iter().map(|&t| letter(t)).collect::<String>();
            println!("text        {}", text(&tokens));
            println!("prediction   {}\n", text(&prediction.next[..tokens.len() - 1]));
        }
    }
    println!("second halves of {n} random strings: {:.1} % predicted", 100. * total / n as f64);
    Ok(())
}

/// The attention map of the induction head.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let tokens = repeated_string(0);
    let prediction = predict(&tokens)?;
    let maps = [
        ("layer 1: previous token", prediction.previous_token.to_vec2::<f32>()?),
        ("layer 2: induction", prediction.induction.to_vec2::<f32>()?),
    ];
    let svg = plot::figure(340, |area| {
        for (i, (title, map)) in (0..).zip(maps) {
            let (left, top, size) = (30 + 300 * i, 52, 10);
            plot::text(area, title, (left + size * 12, 14), HPos::Center)?;
            for (row, &token) in (0..).zip(&tokens) {
                let name = letter(token);
                plot::text(area, &name, (left - 12, top + size * row + 5), HPos::Center)?;
                plot::text(area, &name, (left + size * row + 5, top - 12), HPos::Center)?;
                let weights = (0..=row).zip(&map[row as usize]);
                for (column, &weight) in weights.filter(|(_, weight)| **weight > 0.005) {
                    let corner = (left + size * column, top + size * row);
                    let opposite = (corner.0 + size, corner.1 + size);
                    let color = PALETTE[0].mix(f64::from(weight)).filled();
                    area.draw(&Rectangle::new([corner, opposite], color))?;
                }
            }
            let end = (left + size * 25, top + size * 25);
            area.draw(&Rectangle::new([(left, top), end], INK.mix(0.4).stroke_width(1)))?;
        }
        let caption = "row: the token that reads; column: the token that is read";
        plot::text(area, caption, (300, 325), HPos::Center)
    })?;
    Ok(vec![Artifact::figure("induction", svg)])
}
