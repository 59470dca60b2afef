//! A mixture of experts in place of the feed-forward layer, as far as opening such a model needs
//! it: y = Σₖ weightₖ · expertₖ(x), over the K experts that a router selects for each token.
//!
//! Part 5 explains it, keeps the load of its experts balanced and computes them faster. Here they
//! are a loop. The router and the matrices of each expert are linear layers, which may have
//! adapters.

use candle_core::{DType, Module, Result, Tensor};
use model_io::TensorNames;
use model_io::config::ExpertWeights;
use tensor_core::ops::{silu_mul, softmax};
use tensor_core::{Bias, Init, Linear, Scope, at_least_f32};

use crate::block::FeedForwardLayer;

/// Router and experts of a block.
#[derive(Debug, Clone)]
pub struct MixtureOfExperts {
    router: Linear, // C → E
    experts: Vec<Expert>,
    top_k: usize,
    weights: ExpertWeights,
}

/// SwiGLU layer, one of many.
#[derive(Debug, Clone)]
struct Expert {
    gate: Linear, // C → F
    up: Linear,   // C → F
    down: Linear, // F → C
}

/// Sizes of a [`MixtureOfExperts`].
#[derive(Debug, Clone, Copy)]
pub struct ExpertSizes {
    /// C, the channels.
    pub n_embd: usize,
    /// F, the inner width of an expert.
    pub width: usize,
    /// E, the number of experts.
    pub n_expert: usize,
    /// K, the experts per token.
    pub top_k: usize,
}

impl MixtureOfExperts {
    /// Creates the parameters `gate` and `experts.0` and so on, named as in the family's files.
    /// `residual` initializes each expert's last matrix.
    pub fn new(
        mut scope: Scope<'_>,
        sizes: ExpertSizes,
        weights: ExpertWeights,
        names: &TensorNames,
        [init, residual]: [Init; 2],
    ) -> Result<Self> {
        let ExpertSizes { n_embd: c, width: f, n_expert, top_k } = sizes;
        let router = Linear::new(scope.at("gate"), c, n_expert, Bias::No, init)?;
        let mut experts = scope.at("experts");
        let [gate, up, down] = names.expert;
        let experts = (0..n_expert).map(|e| {
            let mut expert = experts.at(e);
            Ok(Expert {
                gate: Linear::new(expert.at(gate), c, f, Bias::No, init)?,
                up: Linear::new(expert.at(up), c, f, Bias::No, init)?,
                down: Linear::new(expert.at(down), f, c, Bias::No, residual)?,
            })
        });
        Ok(Self { router, experts: experts.collect::<Result<_>>()?, top_k, weights })
    }
}

impl FeedForwardLayer for MixtureOfExperts {
    fn forward_with_aux_outputs(&self, x: &Tensor, _: &mut Vec<Tensor>) -> Result<Tensor> {
        let ((b, t, c), k) = (x.dims3()?, self.top_k);
        let (n, e) = (b * t, self.experts.len());
        let x = x.reshape((n, c))?;
        let logits = at_least_f32(&self.router.forward(&x)?)?; // (N, E)
        let probabilities = softmax(&logits)?; // (N, E)
        let criterion = probabilities.detach().to_dtype(DType::F32)?.flatten_all()?;
        let selected = top_k(&criterion.to_vec1()?, e, k); // N · K, waits for the device
        let indices = Tensor::from_slice(&selected, (n, k), x.device())?;
        let mut weights = probabilities.gather(&indices, 1)?; // (N, K)
        if self.weights == ExpertWeights::Renormalized {
            weights = weights.broadcast_div(&weights.sum_keepdim(1)?)?;
        }
        let weights = weights.to_dtype(x.dtype())?.reshape((n * k, 1))?;
        let mut y = x.zeros_like()?;
        for (e, expert) in self.experts.iter().enumerate() {
            let is_for_expert = |slot: &u32| selected[*slot as usize] as usize == e;
            let slots: Vec<u32> = (0..(n * k) as u32).filter(is_for_expert).collect();
            if slots.is_empty() {
                continue;
            }
            let tokens: Vec<u32> = slots.iter().map(|slot| slot / k as u32).collect();
            let tokens = Tensor::new(tokens, x.device())?;
            let rows = x.index_select(&tokens, 0)?; // (tokens of e, C)
            let hidden = silu_mul(&expert.gate.forward(&rows)?, &expert.up.forward(&rows)?)?;
            let output = expert.down.forward(&hidden)?; // (tokens of e, C)
            let weight = weights.index_select(&Tensor::new(slots, x.device())?, 0)?;
            y = y.index_add(&tokens, &output.broadcast_mul(&weight)?, 0)?;
        }
        y.reshape((b, t, c))
    }
}

/// Column indices of the `k` largest values of each row of `e` values, largest first. Of equal
/// values the first one comes first, and NaN is the smallest.
///
/// # Panics
/// When `k` is more than `e`.
pub fn top_k(values: &[f32], e: usize, k: usize) -> Vec<u32> {
    assert!(k <= e, "top {k} of {e} values");
    let mut indices = Vec::with_capacity(values.len() / e * k);
    let mut is_selected = vec![false; e];
    for row in values.chunks_exact(e) {
        is_selected.fill(false);
        for _ in 0..k {
            let mut best = None;
            for (i, &value) in row.iter().enumerate() {
                let is_better = |max: f32| value > max || (max.is_nan() && !value.is_nan());
                if !is_selected[i] && best.is_none_or(|(_, max)| is_better(max)) {
                    best = Some((i, value));
                }
            }
            let (i, _) = best.expect("fewer than e values are selected");
            is_selected[i] = true;
            indices.push(i as u32);
        }
    }
    indices
}
