//! 8.1 The value of a state: what score a response is going to get, guessed before each of its tokens.
//!
//! V(s_t) = w · h_t + b, where h_t is what the network knows before token t. It begins at 0 (w = b = 0), so that the first
//! advantages are the rewards themselves and not the noise of a random guess.

use candle_core::{DType, Result, Tensor};
use tensor_core::{Bias, Init, Linear, Scope};

/// From what is known to a guess.
#[derive(Debug, Clone)]
pub struct ValueHead(Linear);

impl ValueHead {
    /// Parameters `weight: (1, C)` and `bias: (1)`, both 0.
    ///
    /// # Errors
    /// When the store has others.
    pub fn new(scope: Scope<'_>, c: usize) -> Result<Self> {
        Ok(Self(Linear::new(scope, c, 1, Bias::Yes, Init::Zeros)?))
    }

    /// V for each row of `known: (N, C)`: (N), in f32.
    ///
    /// # Errors
    /// When the widths differ.
    pub fn forward(&self, known: &Tensor) -> Result<Tensor> {
        self.0.forward(known)?.squeeze(1)?.to_dtype(DType::F32)
    }
}
