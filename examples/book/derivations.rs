//! Every identity that the book derives, evaluated on numbers; every number that its text works out
//! by hand; and the freshness of its figures.

mod before;
mod attention;
mod tiny_gpt;
mod modern;
mod scale;
mod cost;
mod answering;
mod judging;
mod trying;
mod comparing;
mod without_trying;
mod at_test_time;
mod is_it_better;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use tensor_core::Rng;

use crate::artifacts;

#[test]
fn the_figures_and_tables_of_the_book_are_those_that_the_code_draws() -> Result<()> {
    artifacts::check()
}

/// Random numbers with mean 0 and variance 1.
fn normal(n: usize, seed: u64) -> Vec<f64> {
    let mut rng = Rng::new(seed);
    (0..n).map(|_| rng.normal()).collect()
}

/// Random probabilities.
fn distribution(n: usize, seed: u64) -> Vec<f64> {
    softmax(&normal(n, seed))
}

fn softmax(x: &[f64]) -> Vec<f64> {
    let sum: f64 = x.iter().map(|x| x.exp()).sum();
    x.iter().map(|x| x.exp() / sum).collect()
}

fn kl(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum()
}

fn tensor(x: &[f64]) -> Result<Tensor> {
    Ok(Tensor::new(x, &Device::Cpu)?)
}

fn number(x: &Tensor) -> Result<f64> {
    Ok(x.to_dtype(DType::F64)?.to_scalar()?)
}
