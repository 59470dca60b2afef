//! 3.3 SwiGLU (Shazeer, <https://arxiv.org/abs/2002.05202>): a feed-forward layer in which one half decides how much of
//! the other passes.
//!
//! FFN(x) = W_down · (silu(W_gate x) · W_up x), with silu(x) = x / (1 + exp(−x)). Three matrices instead of two, so F is
//! 8/3 C where a plain layer has 4 C.

use candle_core::{Result, Tensor};
use tensor_core::ops::{self, Gelu, gelu};
use tensor_core::{Bias, Init, Linear, Scope};

use crate::config::Mlp;

/// The lesson: silu(`gate`) · `up`, all of one shape, in plain steps.
pub fn silu_mul(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let silu = (gate / (gate.neg()?.exp()? + 1.)?)?;
    silu * up
}

/// The layer that works on each token alone.
#[derive(Debug, Clone)]
pub enum FeedForward {
    /// This section's.
    SwiGlu {
        /// C → F
        gate_proj: Linear,
        /// C → F
        up_proj: Linear,
        /// F → C
        down_proj: Linear,
    },
    /// Part 1's.
    Gelu {
        /// C → F
        fc: Linear,
        /// F → C
        proj: Linear,
        /// Form of the activation.
        form: Gelu,
    },
}

impl FeedForward {
    /// Parameters `gate_proj`, `up_proj`, `down_proj`, or `fc` and `proj`. `residual` is the initial scale of the last.
    pub fn new(
        mut scope: Scope<'_>,
        c: usize,
        mlp: Mlp,
        init: Init,
        residual: Init,
    ) -> Result<Self> {
        let mut layer =
            |name, n_in, n_out, bias, init| Linear::new(scope.at(name), n_in, n_out, bias, init);
        match mlp {
            Mlp::SwiGlu { width } => Ok(Self::SwiGlu {
                gate_proj: layer("gate_proj", c, width, Bias::No, init)?,
                up_proj: layer("up_proj", c, width, Bias::No, init)?,
                down_proj: layer("down_proj", width, c, Bias::No, residual)?,
            }),
            Mlp::Gelu { width, form } => Ok(Self::Gelu {
                fc: layer("fc", c, width, Bias::Yes, init)?,
                proj: layer("proj", width, c, Bias::Yes, residual)?,
                form,
            }),
        }
    }

    /// Maps `x: (B, T, C)` to `(B, T, C)`, each token on its own.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::SwiGlu { gate_proj, up_proj, down_proj } => {
                let inner = ops::silu_mul(&gate_proj.forward(x)?, &up_proj.forward(x)?)?; // (B, T, F)
                down_proj.forward(&inner)
            }
            Self::Gelu { fc, proj, form } => proj.forward(&gelu(&fc.forward(x)?, *form)?),
        }
    }
}
