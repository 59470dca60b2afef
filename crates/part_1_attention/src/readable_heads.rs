//! 1.7 Attention heads with weights set by hand, whose attention maps are easy to read.
//!
//! Trained heads learn such patterns too, but distributed over many weights. Here a token is a
//! vector of two halves: its content (one random vector per distinct word) and its position (1.1).
//! Queries and keys that use only one half attend to the previous token, or to earlier tokens of
//! the same word.

use candle_core::{DType, Device, Result, Tensor};
use tensor_core::Rng;

use crate::positions::frequency;
use crate::{attention_weights, sinusoidal_positions};

/// Channels of each half.
const HALF_DIM: usize = 32;

/// Attention pattern of a hand-built head, and the query and key that produce it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadableHead {
    /// Attends to the previous token: the query is the position rotated back by one step.
    PreviousToken,
    /// Attends to tokens of the same word: query and key are the content.
    DuplicateToken,
    /// Attends to all tokens equally: the query is zero.
    Uniform,
    /// Random weights, as before training.
    RandomWeights,
}

impl ReadableHead {
    /// All heads, in the order of the picture.
    pub const ALL: [Self; 4] =
        [Self::PreviousToken, Self::DuplicateToken, Self::Uniform, Self::RandomWeights];

    /// Title of the attention map.
    pub fn title(self) -> &'static str {
        match self {
            Self::PreviousToken => "previous token",
            Self::DuplicateToken => "duplicate token",
            Self::Uniform => "uniform",
            Self::RandomWeights => "random weights",
        }
    }

    /// Query and key of every word, each (T, HALF_DIM).
    fn query_and_key(self, content: &Tensor, position: &Tensor) -> Result<(Tensor, Tensor)> {
        match self {
            Self::PreviousToken => Ok((rotate_back_one_position(position)?, position.clone())),
            Self::DuplicateToken => Ok((content.clone(), content.clone())),
            Self::Uniform => Ok((content.zeros_like()?, content.clone())),
            Self::RandomWeights => {
                let x = Tensor::cat(&[content, position], 1)?; // (T, 2 HALF_DIM)
                let mut rng = Rng::new(1);
                let mut projection = || {
                    let std = 1. / (2. * HALF_DIM as f64).sqrt();
                    x.matmul(&rng.normal_tensor(
                        (2 * HALF_DIM, HALF_DIM),
                        std,
                        x.dtype(),
                        x.device(),
                    )?)
                };
                Ok((projection()?, projection()?))
            }
        }
    }
}

/// Attention maps of [`ReadableHead::ALL`] on `words`: (4, T, T).
pub fn attention_maps(words: &[&str]) -> Result<Tensor> {
    let content = word_embeddings(words)?; // (T, HALF_DIM)
    // Scaled up to sharpen the softmax, as the vectors of neighboring positions are similar.
    let position = (sinusoidal_positions(words.len(), HALF_DIM, DType::F32, &Device::Cpu)? * 6.)?;
    let maps = ReadableHead::ALL.map(|head| {
        let (q, k) = head.query_and_key(&content, &position)?;
        attention_weights(&q, &k)
    });
    Tensor::stack(&maps.into_iter().collect::<Result<Vec<_>>>()?, 0)
}

/// Random vector of each distinct word: (T, HALF_DIM).
fn word_embeddings(words: &[&str]) -> Result<Tensor> {
    let first_mention =
        |word: &&str| words.iter().position(|w| w == word).unwrap_or_default() as u32;
    let ids: Vec<u32> = words.iter().map(first_mention).collect();
    let table = Rng::new(0).normal_tensor((words.len(), HALF_DIM), 1., DType::F32, &Device::Cpu)?;
    table.index_select(&Tensor::new(ids, &Device::Cpu)?, 0)
}

/// Rotates each pair (sin tω, cos tω) of `position: (T, HALF_DIM)` to (sin (t−1)ω, cos (t−1)ω). A
/// rotation is a linear map, so the W_q of a head can represent it.
pub fn rotate_back_one_position(position: &Tensor) -> Result<Tensor> {
    let mut rotation = vec![0f32; HALF_DIM * HALF_DIM]; // (in, out)
    for pair in 0..HALF_DIM / 2 {
        let (sin, cos) = frequency(pair, HALF_DIM).sin_cos();
        let (s, c) = (2 * pair, 2 * pair + 1);
        rotation[s * HALF_DIM + s] = cos as f32; // sin(a − ω) = sin a cos ω − cos a sin ω
        rotation[c * HALF_DIM + s] = -sin as f32;
        rotation[s * HALF_DIM + c] = sin as f32; // cos(a − ω) = cos a cos ω + sin a sin ω
        rotation[c * HALF_DIM + c] = cos as f32;
    }
    position.matmul(&Tensor::from_vec(rotation, (HALF_DIM, HALF_DIM), &Device::Cpu)?)
}
