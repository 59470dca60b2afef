//! 3.3 SwiGLU (Shazeer, <https://arxiv.org/abs/2002.05202>): a gated feed-forward layer.
//!
//! FFN(x) = W_down · (silu(W_gate x) · W_up x), with silu(x) = x / (1 + exp(−x)). It has three
//! matrices instead of two, so its hidden width F is 8/3 C where a plain MLP has 4 C.

use candle_core::{Module, Result, Tensor};
use model_io::config::Mlp;
use tensor_core::ops::{self, Gelu, gelu};
use tensor_core::{Bias, Init, Linear, Scope};

/// silu(`gate`) · `up`, elementwise and of one shape. Reference for the fused [`ops::silu_mul()`].
pub fn silu_mul(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let silu = (gate / (gate.neg()?.exp()? + 1.)?)?;
    silu * up
}

/// Feed-forward layer (MLP), applied to each token separately.
#[derive(Debug, Clone)]
pub enum FeedForward {
    /// SwiGLU.
    SwiGlu {
        /// C → F
        gate_proj: Linear,
        /// C → F
        up_proj: Linear,
        /// F → C
        down_proj: Linear,
    },
    /// GELU MLP of part 1.
    Gelu {
        /// C → F
        fc: Linear,
        /// F → C
        proj: Linear,
        /// Exact GELU or its tanh approximation.
        form: Gelu,
    },
}

impl FeedForward {
    /// Creates the parameters `gate_proj`, `up_proj` and `down_proj`, or `fc` and `proj`.
    /// `residual` is the initialization of the last matrix, whose output is added to the residual
    /// stream.
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
}

impl Module for FeedForward {
    /// Maps `x: (B, T, C)` to `(B, T, C)`, each token separately.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::SwiGlu { gate_proj, up_proj, down_proj } => {
                let (gate, up) = (gate_proj.forward(x)?, up_proj.forward(x)?); // (B, T, F)
                let hidden = ops::silu_mul(&gate, &up)?; // (B, T, F)
                down_proj.forward(&hidden)
            }
            Self::Gelu { fc, proj, form } => proj.forward(&gelu(&fc.forward(x)?, *form)?),
        }
    }
}
