//! Heads whose weights are set by hand, so that their attention maps can be read.
//!
//! Trained heads do such things too, but hide them in numbers. Here a token is a vector of two halves: what the word
//! is (one random vector per distinct word) and where it stands (1.1). Queries and keys that look at one half only
//! find the word before, or the same word earlier.

use candle_core::{DType, Device, Result, Tensor};
use tensor_core::Rng;

use crate::positions::frequency;
use crate::{attention_weights, sinusoidal_positions};

/// Channels of each half.
const HALF_DIM: usize = 32;

/// Attention pattern of a hand-built head, and the query and key that produce it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadableHead {
    /// The query is the position turned back by one step: it matches the key of the word before.
    PreviousToken,
    /// Query and key are the word itself: it matches every earlier mention.
    DuplicateToken,
    /// Queries of zero match everything alike: the average of all that came before.
    Uniform,
    /// Random weights, as before training.
    RandomWeights,
}

impl ReadableHead {
    /// All of them, in the order of the picture.
    pub const ALL: [Self; 4] =
        [Self::PreviousToken, Self::DuplicateToken, Self::Uniform, Self::RandomWeights];

    /// A title for its map.
    pub fn title(self) -> &'static str {
        match self {
            Self::PreviousToken => "the word before",
            Self::DuplicateToken => "the same word, earlier",
            Self::Uniform => "all words alike",
            Self::RandomWeights => "before training",
        }
    }

    /// Query and key of every word, each (T, HALF).
    fn query_and_key(self, content: &Tensor, position: &Tensor) -> Result<(Tensor, Tensor)> {
        match self {
            Self::PreviousToken => Ok((rotate_back_one_position(position)?, position.clone())),
            Self::DuplicateToken => Ok((content.clone(), content.clone())),
            Self::Uniform => Ok((content.zeros_like()?, content.clone())),
            Self::RandomWeights => {
                let x = Tensor::cat(&[content, position], 1)?; // (T, 2 HALF)
                let mut rng = Rng::new(1);
                let mut map = || {
                    let std = 1. / (2. * HALF_DIM as f64).sqrt();
                    x.matmul(&rng.normal_tensor(
                        (2 * HALF_DIM, HALF_DIM),
                        std,
                        x.dtype(),
                        x.device(),
                    )?)
                };
                Ok((map()?, map()?))
            }
        }
    }
}

/// The attention maps of [`ReadableHead::ALL`] on `words`: (4, T, T).
pub fn attention_maps(words: &[&str]) -> Result<Tensor> {
    let content = word_embeddings(words)?; // (T, HALF)
    // Scaled up so that softmax decides clearly: neighbouring positions are much alike.
    let position = (sinusoidal_positions(words.len(), HALF_DIM, DType::F32, &Device::Cpu)? * 6.)?;
    let maps = ReadableHead::ALL.map(|head| {
        let (q, k) = head.query_and_key(&content, &position)?;
        attention_weights(&q, &k)
    });
    Tensor::stack(&maps.into_iter().collect::<Result<Vec<_>>>()?, 0)
}

/// One random vector per distinct word: (T, HALF).
fn word_embeddings(words: &[&str]) -> Result<Tensor> {
    let first_mention =
        |word: &&str| words.iter().position(|w| w == word).unwrap_or_default() as u32;
    let ids: Vec<u32> = words.iter().map(first_mention).collect();
    let table = Rng::new(0).normal_tensor((words.len(), HALF_DIM), 1., DType::F32, &Device::Cpu)?;
    table.index_select(&Tensor::new(ids, &Device::Cpu)?, 0)
}

/// Turns each pair (sin tω, cos tω) of `position: (T, HALF_DIM)` into (sin (t−1)ω, cos (t−1)ω). A rotation is a linear
/// map, so a head's W_q can hold it.
fn rotate_back_one_position(position: &Tensor) -> Result<Tensor> {
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
