//! 3.3 SwiGLU (Shazeer, <https://arxiv.org/abs/2002.05202>): a gated feed-forward layer.
//!
//! FFN(x) = W_down · (silu(W_gate x) · W_up x), with silu(x) = x / (1 + exp(−x)). It has three
//! matrices instead of two, so its hidden width F is 8/3 C where a plain MLP has 4 C. The other
//! layers of this file differ from it in the activation, or in how the matrices are stored.

use candle_core::{D, Module, Result, Tensor, bail};
use model_io::TensorNames;
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
    /// SwiGLU with one matrix for gate and up projection: Phi-3.
    FusedSwiGlu {
        /// C → 2 F, the gate first
        gate_up_proj: Linear,
        /// F → C
        down_proj: Linear,
    },
    /// SwiGLU with GELU in place of SiLU: Gemma 1 to 3.
    GeGlu {
        /// C → F
        gate_proj: Linear,
        /// C → F
        up_proj: Linear,
        /// F → C
        down_proj: Linear,
        /// Exact GELU or its tanh approximation.
        form: Gelu,
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
    /// MLP with max(0, x) between its two layers: OPT.
    Relu {
        /// C → F
        fc: Linear,
        /// F → C
        proj: Linear,
    },
}

impl FeedForward {
    /// Creates the parameters `gate_proj`, `up_proj` and `down_proj`, or two matrices with the
    /// family's `names`. `residual` is the initialization of the last matrix, whose output is added
    /// to the residual stream.
    ///
    /// # Errors
    /// When `mlp` is a mixture of experts.
    pub fn new(
        mut scope: Scope<'_>,
        c: usize,
        mlp: Mlp,
        names: &TensorNames,
        [init, residual]: [Init; 2],
    ) -> Result<Self> {
        let TensorNames { fc, proj, .. } = *names;
        let mut layer =
            |name, n_in, n_out, bias, init| Linear::new(scope.at(name), n_in, n_out, bias, init);
        match mlp {
            Mlp::SwiGlu { width } => Ok(Self::SwiGlu {
                gate_proj: layer("gate_proj", c, width, Bias::No, init)?,
                up_proj: layer("up_proj", c, width, Bias::No, init)?,
                down_proj: layer("down_proj", width, c, Bias::No, residual)?,
            }),
            Mlp::FusedSwiGlu { width } => Ok(Self::FusedSwiGlu {
                gate_up_proj: layer("gate_up_proj", c, 2 * width, Bias::No, init)?,
                down_proj: layer("down_proj", width, c, Bias::No, residual)?,
            }),
            Mlp::GeGlu { width, form } => Ok(Self::GeGlu {
                gate_proj: layer("gate_proj", c, width, Bias::No, init)?,
                up_proj: layer("up_proj", c, width, Bias::No, init)?,
                down_proj: layer("down_proj", width, c, Bias::No, residual)?,
                form,
            }),
            Mlp::Gelu { width, form } => Ok(Self::Gelu {
                fc: layer(fc, c, width, Bias::Yes, init)?,
                proj: layer(proj, width, c, Bias::Yes, residual)?,
                form,
            }),
            Mlp::Relu { width } => Ok(Self::Relu {
                fc: layer(fc, c, width, Bias::Yes, init)?,
                proj: layer(proj, width, c, Bias::Yes, residual)?,
            }),
            Mlp::Experts { .. } => bail!("a mixture of experts is not one feed-forward layer"),
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
            Self::FusedSwiGlu { gate_up_proj, down_proj } => {
                let halves = gate_up_proj.forward(x)?.chunk(2, D::Minus1)?; // 2 of (B, T, F)
                down_proj.forward(&ops::silu_mul(&halves[0], &halves[1])?)
            }
            Self::GeGlu { gate_proj, up_proj, down_proj, form } => {
                let gate = gelu(&gate_proj.forward(x)?, *form)?; // (B, T, F)
                down_proj.forward(&(gate * up_proj.forward(x)?)?)
            }
            Self::Relu { fc, proj } => proj.forward(&fc.forward(x)?.relu()?),
            Self::Gelu { fc, proj, form } => proj.forward(&gelu(&fc.forward(x)?, *form)?),
        }
    }
}
