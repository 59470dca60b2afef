//! 8.2 Value head: the expected return of a completion, estimated before each of its tokens.
//!
//! V(s_t) = w · h_t + b, where h_t is the hidden state that predicts token t. Both start at 0, so
//! the first advantages are the rewards themselves rather than the noise of a random estimate.

use candle_core::{DType, Result, Tensor};
use tensor_core::{Bias, Init, Linear, Scope};

/// Linear layer from hidden states to values.
#[derive(Debug, Clone)]
pub struct ValueHead(Linear);

impl ValueHead {
    /// Parameters `weight: (1, C)` and `bias: (1)`, both 0.
    ///
    /// # Errors
    /// When the store has tensors of other names or shapes.
    pub fn new(scope: Scope<'_>, c: usize) -> Result<Self> {
        Ok(Self(Linear::new(scope, c, 1, Bias::Yes, Init::Zeros)?))
    }

    /// Values of `hidden: (N, C)`: (N), in f32.
    ///
    /// # Errors
    /// When the widths differ.
    pub fn forward(&self, hidden: &Tensor) -> Result<Tensor> {
        self.0.forward(hidden)?.squeeze(1)?.to_dtype(DType::F32)
    }
}
