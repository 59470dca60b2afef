//! 5.2 The experts: E feed-forward layers of the same size.

use candle_core::{Module, Result, Tensor, bail};
use model_io::config::Mlp;
use tensor_core::ops::{Gelu, gelu, silu_mul};
use tensor_core::{Bias, Init, Linear, Scope, Weight};

/// Experts of a layer, each with its own weights.
#[derive(Debug, Clone)]
pub enum Experts {
    /// SwiGLU experts, W₂ (silu(W₁ x) · W₃ x), with Mixtral's names.
    SwiGlu {
        /// Gate projection of each expert, C → F.
        w1: Vec<Linear>,
        /// Down projection of each expert, F → C.
        w2: Vec<Linear>,
        /// Up projection of each expert, C → F.
        w3: Vec<Linear>,
    },
    /// GELU experts: two linear layers with GELU between them.
    Gelu {
        /// First layer of each expert, C → F.
        fc: Vec<Linear>,
        /// Second layer of each expert, F → C.
        proj: Vec<Linear>,
        /// Form of the activation.
        form: Gelu,
    },
}

impl Experts {
    /// Creates the parameters `0.w1`, `0.w2`, `0.w3`, `1.w1` and so on, or `0.fc`, `0.proj`.
    /// `residual` initializes the last matrix of each expert.
    pub fn new(
        mut scope: Scope<'_>,
        e: usize,
        c: usize,
        mlp: Mlp,
        init: Init,
        residual: Init,
    ) -> Result<Self> {
        let mut layers = |name, n_in, n_out, bias, init| -> Result<Vec<Linear>> {
            (0..e).map(|i| Linear::new(scope.at(i).at(name), n_in, n_out, bias, init)).collect()
        };
        match mlp {
            Mlp::SwiGlu { width } => Ok(Self::SwiGlu {
                w1: layers("w1", c, width, Bias::No, init)?,
                w2: layers("w2", width, c, Bias::No, residual)?,
                w3: layers("w3", c, width, Bias::No, init)?,
            }),
            Mlp::Gelu { width, form } => Ok(Self::Gelu {
                fc: layers("fc", c, width, Bias::Yes, init)?,
                proj: layers("proj", width, c, Bias::Yes, residual)?,
                form,
            }),
            other => bail!("an expert is a SwiGLU or a GELU layer, not {other:?}"),
        }
    }

    /// Output (N, C) of expert `e` for `x: (N, C)`, for the reference forward.
    pub fn forward_expert(&self, e: usize, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::SwiGlu { w1, w2, w3 } => {
                w2[e].forward(&silu_mul(&w1[e].forward(x)?, &w3[e].forward(x)?)?)
            }
            Self::Gelu { fc, proj, form } => proj[e].forward(&gelu(&fc[e].forward(x)?, *form)?),
        }
    }

    /// Outputs (M, C) of all experts for `x: (M, C)`, as grouped matrix products: the first
    /// `counts[0]` rows are for the first expert, and so on.
    pub fn forward_grouped(&self, x: &Tensor, counts: &[usize]) -> Result<Tensor> {
        let grouped = |layers: &[Linear], x: &Tensor| {
            let groups = layers.iter().map(|layer| (&layer.weight, layer.bias.as_ref()));
            Weight::grouped_linear(x, &groups.collect::<Vec<_>>(), counts)
        };
        match self {
            Self::SwiGlu { w1, w2, w3 } => {
                grouped(w2, &silu_mul(&grouped(w1, x)?, &grouped(w3, x)?)?)
            }
            Self::Gelu { fc, proj, form } => grouped(proj, &gelu(&grouped(fc, x)?, *form)?),
        }
    }
}
